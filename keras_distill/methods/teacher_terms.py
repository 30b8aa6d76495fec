"""The losses against teachers, one by one, with their names, weights and teachers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from keras_distill.errors import InputError
from keras_distill.losses.feature_loss import FeatureLoss
from keras_distill.losses.teacher_loss import TeacherLoss
from keras_distill.methods.batch_checks import check_answer

AnyTeacherLoss: TypeAlias = TeacherLoss | FeatureLoss


class TeacherTerm(NamedTuple):
    """A loss against a teacher: its name in reports, itself, and the teacher's name."""

    name: str
    loss: AnyTeacherLoss
    teacher: str | None


def teacher_terms(
    losses: Sequence[AnyTeacherLoss] | Mapping[str, Sequence[AnyTeacherLoss]],
) -> list[TeacherTerm]:
    """Lists losses that are given for one teacher, or in a dict by the names of several."""
    if isinstance(losses, Mapping):
        return [
            TeacherTerm(f"{teacher}_{loss.name}", loss, teacher)
            for teacher, own in losses.items()
            for loss in own
        ]
    return [TeacherTerm(loss.name, loss, None) for loss in losses]


def of_teacher(teacher: str | None, value: Any) -> Any:
    """What belongs to a teacher, of something that is there once or by teacher."""
    return value.get(teacher) if isinstance(value, Mapping) else value


def answer_of(teacher: str | None, answers: Any) -> Any:
    """What a teacher answered; another's answer must not pass for it."""
    if isinstance(answers, Mapping) == (teacher is None) or of_teacher(teacher, answers) is None:
        raise InputError(
            f"Distiller: there is no answer of the teacher {teacher!r}; 'teacher_embedding' and "
            "distiller.teacher must be dicts by the names of the teachers if teacher_losses is, "
            "and hold all of them between them."
        )
    answer = of_teacher(teacher, answers)
    check_answer(answer, teacher)
    return answer


def map_teachers(function: Callable[[Any], Any], value: Any) -> Any:
    """Applies a function to a single object or to each of a dict's; a config is no such dict."""
    if isinstance(value, Mapping) and "class_name" not in value:
        return {key: function(item) for key, item in value.items()}
    return function(value)


def map_losses(function: Callable[[Any], Any], value: Any) -> Any:
    """Applies a function to each loss of a list, or of each list of a dict."""
    if isinstance(value, Mapping):
        return {key: [function(item) for item in items] for key, items in value.items()}
    return [function(item) for item in value]


def weights_by_name(
    names: Sequence[str], weights: Sequence[float] | Mapping[str, float] | None
) -> dict[str, float]:
    """Reads weights in the order of the names, or by name; 1 for those left out."""
    if weights is None:
        return dict.fromkeys(names, 1.0)
    if not isinstance(weights, Mapping):
        if len(weights) != len(names):
            raise InputError(f"teacher_loss_weights={weights!r} does not match the losses {names}.")
        return dict(zip(names, map(float, weights), strict=True))
    if unknown := set(weights) - set(names):
        raise InputError(
            f"teacher_loss_weights names {sorted(unknown)}, but the losses are {names}; "
            "task_loss_weight is the weight of the task loss."
        )
    return {name: float(weights.get(name, 1.0)) for name in names}
