"""Checks of the arguments of a `Distiller`, before anything is built."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_distill.errors import InputError
from keras_distill.losses.feature_loss import FeatureLoss
from keras_distill.losses.keras_distillation import is_keras_distillation
from keras_distill.losses.task_loss import TaskLoss
from keras_distill.losses.teacher_loss import TeacherLoss
from keras_distill.methods.teacher_terms import SINGLE, TeacherTerm, by_teacher


def check_arguments(
    student: Any,
    teacher: Any,
    task_loss: Any,
    teacher_losses: Any,
    task_loss_weight: Any,
    teacher_loss_weights: Any,
    student_projection: Any,
) -> None:
    """Rejects arguments of `Distiller` that have the wrong type.

    Args:
        student: As of `Distiller`, as are the others.
        teacher: As there.
        task_loss: As there.
        teacher_losses: As there.
        task_loss_weight: As there.
        teacher_loss_weights: As there.
        student_projection: As there.

    Raises:
        InputError: If one has; names the argument, its value and the remedy.
    """
    _check_student(student)
    if task_loss is not None and not isinstance(task_loss, TaskLoss):
        raise InputError(
            f"`task_loss={_shown(task_loss)}` is not a loss on labels and embeddings; give an "
            "object such as BatchHardTriplet(margin=0.2), or your own subclass of TaskLoss."
        )
    lists = _lists(teacher_losses)
    for argument, losses in lists.items():
        for loss in losses:
            if not (isinstance(loss, TeacherLoss | FeatureLoss) or is_keras_distillation(loss)):
                raise InputError(
                    f"`{argument}` holds {_shown(loss)}, which is not a loss against a teacher; "
                    "give objects such as RelativeTeacher(), or your own subclass of TeacherLoss."
                )
            if getattr(loss, "needs_rows", False):
                raise InputError(
                    f"`{argument}`: {loss.name} remembers each image, whose number Distiller does "
                    "not give; train it by Supervised."
                )
    _check_weight("task_loss_weight", task_loss_weight)
    _check_weights(teacher_loss_weights)
    learns = any(lists.values()) or (task_loss is not None and task_loss.teacher is not None)
    if teacher is not None and task_loss is not None and not learns:
        raise InputError(
            "`teacher` is given, but no `teacher_losses`: it would teach nothing. Give "
            "`teacher_losses=[RelativeTeacher()]`, or leave `teacher` out."
        )
    for projection in by_teacher(student_projection).values():
        if not isinstance(projection, keras.Layer):
            raise InputError(
                f"`student_projection={_shown(projection)}` is not a Keras layer; give a layer or "
                "model from the student's width to the teacher's, such as keras.layers.Dense(512)."
            )


def check_teacher_names(terms: Sequence[TeacherTerm], **arguments: Any) -> None:
    """Checks that arguments name the same teachers: a misspelt one would teach nothing, silently.

    Args:
        terms: The losses against teachers.
        **arguments: Arguments that may be dicts by the names of the teachers; `teacher` has to name
            all of them.

    Raises:
        InputError: If they do not.
    """
    needed = {term.teacher for term in terms}
    for argument, value in arguments.items():
        if value is None or not needed:
            continue
        named = set(by_teacher(value))
        if (SINGLE in named) != (SINGLE in needed):
            raise InputError(
                f"Distiller: `teacher_losses` and `{argument}` must both be dicts by the names of "
                "the teachers, or neither."
            )
        if unknown := named ^ needed if argument == "teacher" else named - needed:
            raise InputError(
                f"Distiller: `{argument}` and `teacher_losses` disagree about the teachers "
                f"{sorted(map(str, unknown))}."
            )


def _check_student(model: Any) -> None:
    """Checks that it is a functional or sequential model with one output of vectors."""
    if not isinstance(model, keras.Model):
        is_path = isinstance(model, str) or hasattr(model, "__fspath__")
        remedy = (
            "load it first, with keras.models.load_model"
            if is_path
            else "give a keras.Model, such as build_embedder()"
        )
        raise InputError(f"`student={_shown(model)}` is not a Keras model; {remedy}.")
    takes, returns = _shapes(model, "inputs"), _shapes(model, "outputs")
    if len(takes) != 1 or len(returns) != 1 or len(returns[0]) != 2 or returns[0][1] is None:
        described = (
            f"maps {_listed(takes)} to {_listed(returns)}" if takes else "has no input shape yet"
        )
        raise InputError(
            f"`student` {model.name!r} {described}; it must be a functional or sequential model "
            "with one input and one output (batch, dim), such as a model of build_embedder()."
        )


def _shapes(model: keras.Model, tensors: str) -> list[tuple[int | None, ...]]:
    """The shapes of the tensors that a functional model takes or returns; none if unknown."""
    return [tuple(tensor.shape) for tensor in getattr(model, tensors, None) or ()]


def _listed(shapes: Sequence[tuple[int | None, ...]]) -> str:
    return " and ".join(map(str, shapes))


def _lists(losses: Any) -> dict[str, Sequence[Any]]:
    """The lists of losses, by the expression that they are in messages."""
    lists = {}
    for name, own in (losses if isinstance(losses, Mapping) else {SINGLE: losses}).items():
        argument = "teacher_losses" if name == SINGLE else f"teacher_losses[{name!r}]"
        if isinstance(own, str | Mapping) or not isinstance(own, Sequence):
            raise InputError(
                f"`{argument}={_shown(own)}` is not a list of losses; give a list such as "
                "[RelativeTeacher()], or for several teachers a dict of lists by the teachers' "
                "names. Weights are given by `teacher_loss_weights`."
            )
        lists[argument] = own
    return lists


def _check_weights(weights: Any) -> None:
    if weights is None:
        return
    if isinstance(weights, Mapping):
        for name, weight in weights.items():
            _check_weight(f"teacher_loss_weights[{name!r}]", weight)
        return
    if isinstance(weights, str) or not hasattr(weights, "__len__"):
        raise InputError(
            f"`teacher_loss_weights={weights!r}` must be a list of numbers in the order of "
            "`teacher_losses`, or a dict of numbers by the losses' names, such as "
            "{'relative': 0.3}."
        )
    for place, weight in enumerate(weights):
        _check_weight(f"teacher_loss_weights[{place}]", weight)


def _check_weight(argument: str, weight: Any) -> None:
    try:
        usable = not isinstance(weight, str) and math.isfinite(weight)
    except TypeError:
        usable = False
    if not usable:
        raise InputError(f"`{argument}={weight!r}` must be a finite number, such as 0.3.")


def _shown(value: Any) -> str:
    """A value as text for a message: its class, if it is long or has no text of its own."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = repr(value)
    return f"a {type(value).__name__}" if text.startswith("<") or len(text) > 200 else text
