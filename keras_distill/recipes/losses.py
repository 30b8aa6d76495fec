"""Losses that the settings name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_distill.errors import InputError
from keras_distill.losses.cross_batch_memory import CrossBatchMemory
from keras_distill.losses.feature_loss import FeatureLoss
from keras_distill.losses.registry import (
    ANCHOR_LOSSES,
    FEATURE_LOSSES,
    HEAD_LOSSES,
    TASK_LOSSES,
    TEACHER_LOSSES,
)
from keras_distill.losses.self_distillation import SelfDistillation
from keras_distill.losses.task_loss import TaskLoss
from keras_distill.losses.teacher_head import TeacherHead
from keras_distill.losses.teacher_loss import TeacherLoss
from keras_distill.losses.teacher_references import TeacherReferences
from keras_distill.models.class_head import ClassHead
from keras_distill.models.inner_layers import find_path, matching_stages
from keras_distill.settings.distill import DistillSettings
from keras_distill.settings.teachers import parse_anchors, parse_layer_pairs, parse_widths
from keras_distill.teachers.teacher import Teacher


def build_task_loss(settings: DistillSettings, classes: np.ndarray) -> TaskLoss | None:
    """Builds the loss on the labels.

    Args:
        settings: The settings, checked.
        classes: Labels of the training classes, int64 `(n,)`.

    Returns:
        The loss, with a memory if `memory` is not 0, with the teacher's embeddings as `references`,
        or with heads for `self_distillation`; `None` for `task_loss=none`.
    """
    if settings.task_loss == "none":
        return None
    loss: TaskLoss = TASK_LOSSES[settings.task_loss].build(classes=classes, margin=settings.margin)
    if settings.memory:
        loss = CrossBatchMemory(loss, settings.memory)
    if settings.references != "batch":
        loss = TeacherReferences(loss, and_batch=settings.references == "both")
    if heads := parse_widths("self_distillation", settings.self_distillation):
        loss = SelfDistillation(loss, heads, settings.self_distillation_weight)
    return loss


def build_teacher_losses(
    settings: DistillSettings,
    weights: Mapping[str, Mapping[str, float]],
    teachers: Mapping[str, Teacher],
    student: keras.Model,
) -> dict[str, list[TeacherLoss]]:
    """Builds the losses against each teacher.

    Args:
        settings: The settings.
        weights: Weight of each loss by teacher, as of `parse_teacher_losses`.
        teachers: The teachers by name.
        student: The student.

    Returns:
        The losses by teacher; those on all anchors have a queue until `with_anchors`, those of a
        head none of the teacher's until `with_head`.

    Raises:
        InputError: If a loss on inner layers names layers that do not exist.
    """

    def build(loss: str, teacher: str) -> TeacherLoss | FeatureLoss:
        arguments: dict[str, Any] = {}
        if loss in FEATURE_LOSSES:
            arguments["pairs"] = _pairs(loss, settings, teachers[teacher], student)
        elif loss in ANCHOR_LOSSES:
            arguments["queue"] = parse_anchors(settings.anchors)
        elif loss in HEAD_LOSSES:
            arguments["kernel"] = np.eye(teachers[teacher].embedding_dim or 1, 2)
        return TEACHER_LOSSES[loss].load()(**arguments)

    return {teacher: [build(loss, teacher) for loss in own] for teacher, own in weights.items()}


def with_anchors(
    losses: Sequence[TeacherLoss], anchors: Callable[[], np.ndarray]
) -> list[TeacherLoss]:
    """Gives losses the anchors that they compare with, in place of a queue.

    Args:
        losses: The losses against a teacher.
        anchors: Returns the teacher's embeddings `(n, dim)`; called if a loss takes them.

    Returns:
        The losses, others in place of those that take anchors.
    """
    own: list[Any] = [TEACHER_LOSSES[name].load() for name in ANCHOR_LOSSES]
    return [
        own[own.index(type(loss))](anchors=anchors()) if type(loss) in own else loss
        for loss in losses
    ]


def with_head(losses: Sequence[TeacherLoss], head: Callable[[], ClassHead]) -> list[TeacherLoss]:
    """Gives losses the head that they are made for.

    Args:
        losses: The losses against a teacher.
        head: Returns the teacher's head; called if a loss takes one.

    Returns:
        The losses, others in place of those that take a head.
    """
    return [head_loss(head()) if isinstance(loss, TeacherHead) else loss for loss in losses]


def head_loss(head: ClassHead, **options: Any) -> TeacherHead:
    """Makes the loss of a head; options as of `TeacherHead`."""
    return TeacherHead(head.kernel, head.bias, scale=head.scale, **options)


def _pairs(
    loss: str, settings: DistillSettings, teacher: Teacher, student: keras.Model
) -> list[tuple[str, str]]:
    if not isinstance(teacher.owner, keras.Model):
        given = (
            f"`{loss}`"
            if getattr(settings, loss)
            else f"`teacher_losses={settings.teacher_losses}`"
        )
        raise InputError(
            f"{given}: {loss} needs a teacher that is a Keras model, whose inner layers can be "
            "compared; give a .keras file, or leave it out."
        )
    name = f"{loss}_layers"
    value = getattr(settings, name)
    pairs = parse_layer_pairs(name, value)
    for layers in pairs:
        for side, model, layer in zip(
            ("teacher", "student"), (teacher.owner, student), layers, strict=True
        ):
            try:
                find_path(model, layer, maps_only=True)
            except InputError as error:
                said = error.renamed(layer=f"{side}_layer", model=side)
                raise InputError(f"`{name}={value}`: {said}") from error
    if pairs:
        return pairs
    try:
        stages = matching_stages(teacher.owner, student)
    except InputError as error:
        raise InputError(f"`{name}` is empty: {error}") from error
    return [stages[len(stages) // 2]] if loss == "hint" else stages[1:] or stages
