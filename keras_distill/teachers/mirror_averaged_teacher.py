"""Teachers whose embeddings are averaged over each image and its mirror image."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.losses.unit_rows import unit_rows
from keras_distill.models.mirror_average import mirror_averaged
from keras_distill.teachers.model_fingerprint import fingerprint_of
from keras_distill.teachers.teacher import Teacher, as_teacher


def mirror_averaged_teacher(teacher: Teacher) -> Teacher:
    """Averages a teacher's embeddings of each image and its mirror image, see `mirror_averaged`.

    Args:
        teacher: The teacher.

    Returns:
        A teacher that takes twice the time. Of a Keras model, it is the teacher that the model
        made by `mirror_averaged` would be, with the same fingerprint.

    Raises:
        InputError: If it is a table of vectors, or averages mirror images already.
    """
    if teacher.needs_ids:
        raise InputError(
            "`mirror=True`: `model` is a table of vectors, which reads no pixels; leave it out, "
            "and embed the images with `mirror=True` instead."
        )
    if teacher.mirror_averaged:
        raise InputError("`mirror=True`: `model` averages mirror images already; leave it out.")
    if isinstance(teacher.owner, keras.Model):
        averaged = as_teacher(
            mirror_averaged(teacher.owner),
            image_size=teacher.image_size,
            preprocessing=teacher.preprocessing,
        )
    else:
        averaged = _MirrorAveragedTeacher(teacher)
    averaged.mirror_averaged = True
    return averaged


def mirror_average(embed: Callable[[Any], Any], images: Any) -> tf.Tensor:
    """Embeds images and their mirror images, and averages the two vectors of each.

    Args:
        embed: Function from images to vectors `(n, dim)`.
        images: Tensor `(n, height, width, 3)`.

    Returns:
        float32 tensor `(n, dim)`, rows of length 1; zero where the two vectors are opposite.
    """
    views = (images, tf.reverse(images, [2]))
    return unit_rows(tf.add_n([tf.cast(embed(view), tf.float32) for view in views]))


class _MirrorAveragedTeacher(Teacher):
    """Calls a teacher of any kind on both views."""

    def __init__(self, teacher: Teacher):
        super().__init__(
            lambda images: mirror_average(teacher, images),
            embedding_dim=teacher.embedding_dim,
            image_size=teacher.image_size,
            owner=teacher.owner,
            fingerprint=lambda: _fingerprint(teacher),
            runtime=None if teacher.runtime is None else _on_both_views(teacher.runtime),
            versions=teacher.versions,
        )
        self.preprocessing = teacher.preprocessing  # applied by `teacher`


def _fingerprint(teacher: Teacher) -> str | None:
    own = teacher.fingerprint
    return None if own is None else fingerprint_of("mirror", own)


def _on_both_views(
    runtime: Callable[[int], Callable[[np.ndarray], np.ndarray]],
) -> Callable[[int], Callable[[np.ndarray], np.ndarray]]:
    def load(threads: int) -> Callable[[np.ndarray], np.ndarray]:
        run = runtime(threads)

        def both(pixels: np.ndarray) -> np.ndarray:
            total = run(pixels) + run(np.ascontiguousarray(pixels[:, :, ::-1]))
            norms = np.linalg.norm(total, axis=1, keepdims=True)
            return total / np.where(norms > 0, norms, 1)

        return both

    return load
