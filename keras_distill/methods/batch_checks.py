"""Checks of the batches of a `Distiller`, made once, when a step is traced."""

import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.losses.task_loss import TaskLoss
from keras_distill.teachers.teacher import Teacher


def check_batch(x: Mapping[str, Any], y: Any, *, student: keras.Model, labelled: bool) -> None:
    """Checks that a batch holds images for the student, and labels if they are needed.

    Args:
        x: The batch: `image`, and maybe more; see `Distiller`.
        y: Its labels.
        student: The student.
        labelled: Whether there is a loss on labels.

    Raises:
        InputError: If not, with what to give instead.
    """
    if "image" not in x:
        raise InputError(
            f"the batches are dicts with {sorted(map(str, x))}, but without 'image', the input of "
            "the student."
        )
    _check_images(x["image"], student.input_shape)
    if labelled:
        _check_labels(y)


def check_teacher_image(images: Any, teacher: Teacher, name: str) -> None:
    """Checks that images have the size that a teacher takes.

    Args:
        images: The images.
        teacher: The teacher.
        name: Its name; empty if it has none.

    Raises:
        InputError: If it takes another size, with what to give instead.
    """
    size, shape = teacher.image_size, tf.TensorShape(images.shape)
    if teacher.needs_ids or size is None or shape.is_compatible_with((None, size, size, None)):
        return
    seen = shape[1] if shape.rank == 4 else None
    enlarged = seen is None or seen < size  # which would show the teacher less than it can see
    load = f" with image_size=({size}, {size})" if enlarged else ""
    smaller = seen if enlarged else size
    small = f"tf.image.resize(images, ({smaller}, {smaller}), antialias=True)"
    for_student, for_teacher = (small, "images") if enlarged else ("images", small)
    if name:
        for_teacher = f"{{{name!r}: {for_teacher}}}"
    raise InputError(
        f"{_called(name)} takes images of {size} x {size} pixels, but receives {_text(images)}; "
        f"load the images{load} and give both sizes, dataset.map(lambda images, labels: "
        f'({{"image": {for_student}, "teacher_image": {for_teacher}}}, labels)).'
    )


def check_teacher_output(output: Any, name: str) -> None:
    """Checks that a teacher's output is a vector for each image.

    Args:
        output: The output.
        name: The teacher's name; empty if it has none.

    Raises:
        InputError: If not.
    """
    if len(output.shape) != 2:
        raise InputError(
            f"{_called(name)} returns {_text(output)}, but an embedding is a vector for each "
            "image, (batch, dim); average a feature map over its height and width."
        )


def compares_rows(task_loss: TaskLoss | None) -> bool:
    """Tells whether a loss on labels compares only rows that one replica sees."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    # A layer holds class vectors or a memory, which rows are compared with too.
    return task_loss is not None and task_loss.layer is None and replicas == 1


def warn_of_first_batch(images: Any, labels: Any, first: Any) -> None:
    """Warns, from the graph, of a first batch from which little can be learned.

    Args:
        images: The images.
        labels: Their labels `(batch,)`, if a loss compares them with each other, else `None`.
        first: Whether it is the first step, a scalar tensor.
    """
    values: dict[str, Any] = {}
    if len(images.shape) == 4 and tf.as_dtype(images.dtype).is_floating:
        values = {"least": tf.reduce_min, "most": tf.reduce_max}
        values = {name: reduce(images) for name, reduce in values.items()}
    if labels is not None:
        values["labels"] = labels
    if not values:
        return

    def warn(*given: Any) -> None:
        _warn(**dict(zip(values, given, strict=True)))

    def look() -> tf.Tensor:
        tf.py_function(
            lambda *given: _warn(**dict(zip(values, given, strict=True))), [*values.values()], []
        )
        return tf.constant(True)

    tf.cond(first, look, lambda: tf.constant(False))


def _warn(labels: Any = None, least: Any = 0, most: Any = 255) -> None:
    if least < 0 or 0 < most <= 1:
        warnings.warn(
            f"Distiller: the images of the first batch lie between {float(least):.3g} and "
            f"{float(most):.3g}, but embedders take 0 to 255 and scale them themselves. Leave the "
            "scaling out, unless the student and the teacher were built without it.",
            stacklevel=2,
        )
    if labels is None:
        return
    labels = np.ravel(labels)
    _, counts = np.unique(labels[labels >= 0], return_counts=True)
    if len(counts) < 2 or counts.max() < 2:
        found = "have no labels" if not len(counts) else "are all of one class"
        found = found if len(counts) < 2 else "are each of another class"
        warnings.warn(
            f"Distiller: the {len(labels)} images of the first batch {found}, so that the task "
            "loss has nothing to compare; keras_distill.class_batches makes batches of some "
            "classes with several images of each.",
            stacklevel=2,
        )


def _called(name: str) -> str:
    return f"the teacher {name!r}" if name else "the teacher"


def _check_images(images: Any, expected: Any) -> None:
    if not hasattr(images, "shape"):
        raise InputError(f"image must be one tensor, not a {type(images).__name__}.")
    if tf.as_dtype(images.dtype) == tf.string:
        raise InputError(
            "image holds strings; read and decode the files first, "
            "dataset.map(lambda path, label: (tf.io.decode_jpeg(tf.io.read_file(path), 3), label))."
        )
    shape, expected = tf.TensorShape(images.shape), tf.TensorShape(expected)
    if shape.is_compatible_with(expected):
        return
    if shape.rank is not None and shape.is_compatible_with(expected[1:]):
        remedy = "batch the data set, dataset.batch(64)"
    elif shape.rank == 4 == expected.rank and shape[3:].is_compatible_with(expected[3:]):
        size = f"({expected[1]}, {expected[2]})"
        remedy = (
            f"load them with image_size={size}, or resize them, dataset.map(lambda images, labels: "
            f"(tf.image.resize(images, {size}, antialias=True), labels))"
        )
    else:
        remedy = (
            "give them as RGB, channels last" if expected.rank == 4 else "give it what it takes"
        )
    raise InputError(f"the student takes {expected}, but receives {_text(images)}; {remedy}.")


def _check_labels(labels: Any) -> None:
    if labels is None:
        raise InputError(
            "there is a `task_loss`, but the batches have no labels; give them, fit(images, "
            "labels) or batches (images, labels), label images without a class -1, or leave "
            "`task_loss` out to learn from the teacher alone."
        )
    if not hasattr(labels, "shape"):
        raise InputError(
            f"labels must be one integer for each image, not a {type(labels).__name__}."
        )
    shape = tf.TensorShape(labels.shape)
    if shape.rank is not None and (
        shape.rank > 2 or (shape.rank == 2 and shape[1] not in (1, None))
    ):
        raise InputError(
            f"labels must be one integer for each image, got {_text(labels)}; if they are one-hot, "
            'load them with label_mode="int", or take np.argmax(labels, axis=-1).'
        )
    if tf.as_dtype(labels.dtype) == tf.string:
        raise InputError(
            "labels are strings; number them, np.unique(labels, return_inverse=True)[1]."
        )


def _text(tensor: Any) -> str:
    return f"{tf.as_dtype(tensor.dtype).name} of shape {tf.TensorShape(tensor.shape)}"
