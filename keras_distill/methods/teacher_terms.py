"""Losses against teachers, one by one, with their names, weights and teachers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from keras_distill.errors import InputError
from keras_distill.losses.feature_loss import FeatureLoss
from keras_distill.losses.task_loss import TaskLoss
from keras_distill.losses.teacher_loss import TeacherLoss
from keras_distill.methods.batch_checks import check_teacher_output

AnyTeacherLoss: TypeAlias = TeacherLoss | FeatureLoss

#: Name of a single teacher.
SINGLE = ""


class TeacherTerm(NamedTuple):
    """A loss that needs a teacher: its name in reports, itself, and the teacher's name."""

    name: str
    loss: AnyTeacherLoss | TaskLoss
    teacher: str


def teacher_terms(
    losses: Sequence[AnyTeacherLoss] | Mapping[str, Sequence[AnyTeacherLoss]],
) -> list[TeacherTerm]:
    """Lists losses that are given for one teacher, or in a dict by the names of several."""
    return [
        TeacherTerm(loss.name if teacher == SINGLE else f"{teacher}_{loss.name}", loss, teacher)
        for teacher, own in by_teacher(losses).items()
        for loss in own
    ]


def by_teacher(value: Any) -> dict[str, Any]:
    """Returns a single value, or a dict by teacher, as a dict by teacher."""
    if value is None:
        return {}
    return dict(value) if isinstance(value, Mapping) else {SINGLE: value}


def embedding_of(teacher: str, outputs: Any) -> Any:
    """The embeddings of a teacher for a batch; never another teacher's."""
    output = by_teacher(outputs).get(teacher)
    if output is None:
        raise _no_output(teacher, "teacher_embedding")
    check_teacher_output(output, teacher)
    return output


def maps_of(teacher: str, maps: Mapping[str, Any]) -> Any:
    """The feature maps of a teacher for a batch, by layer."""
    if teacher not in maps:
        raise _no_output(teacher, "teacher_features")
    return maps[teacher]


def _no_output(teacher: str, key: str) -> InputError:
    return InputError(
        f"Distiller: there is no output of the teacher {teacher or None!r}; {key!r} and "
        "distiller.teacher must be dicts by the names of the teachers if `teacher_losses` is, "
        "and together hold all of them."
    )


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
            raise InputError(
                f"`teacher_loss_weights={weights!r}` does not match the losses {names}."
            )
        return dict(zip(names, map(float, weights), strict=True))
    if unknown := set(weights) - set(names):
        raise InputError(
            f"`teacher_loss_weights` names {sorted(unknown)}, but the losses are {names}; "
            "`task_loss_weight` is the weight of the task loss."
        )
    return {name: float(weights.get(name, 1.0)) for name in names}
