"""Teachers whose embeddings are projected to fewer dimensions, by PCA."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.models.product import EMBEDDING, by_name
from keras_distill.models.projection import build_projection
from keras_distill.publishing import published_file, published_folder
from keras_distill.teachers.teacher import Teacher
from keras_distill.teachers.vector_table import VectorTable

_LEAST_VARIANCE = 1e-4  # of whitened directions, as a share of the largest variance


def fit_pca(vectors: np.ndarray, dim: int, *, whiten: bool = False) -> keras.Model:
    """Fits the projection onto the directions in which embeddings vary most.

    Args:
        vectors: Embeddings `(n, width)` to fit on; of training images, so that nothing is learned
            from the test images.
        dim: Width of the projection, at most `width`.
        whiten: Whether each direction is divided by the standard deviation of `vectors` along it,
            so that all count alike. A variance below 1e-4 of the largest counts as that: where
            `vectors` hardly differ, noise is not blown up further.

    Returns:
        A frozen model from `(batch, width)` to `(batch, dim)`: `(v - mean) @ directions`, or
        `(v - mean) @ directions / sqrt(max(variances, 1e-4 max(variances)))`, divided by its
        length. Directions beyond the rank of `vectors` are arbitrary but orthogonal.

    Raises:
        ValueError: If `dim` is not from 1 to `width`.
        InputError: If vectors to whiten are all equal.

    Example:
        >>> vectors = np.float32([[-4, 0], [4, 0], [0, -1], [0, 1]])
        >>> print(fit_pca(vectors, 2, whiten=True)(np.float32([[4, 1]])).numpy().round(3))
        [[0.707 0.707]]
    """
    vectors = np.asarray(vectors, np.float64)
    width = vectors.shape[1]
    if not 1 <= dim <= width:
        raise ValueError(f"dim={dim} must be from 1 to the width of the vectors, {width}.")
    if whiten and np.ptp(vectors, axis=0).max() == 0:
        raise InputError(
            f"`vectors`: all {len(vectors)} embeddings are equal, and there is nothing to whiten; "
            "give a teacher that tells images apart."
        )
    mean = vectors.mean(axis=0)
    covariance = np.cov(vectors - mean, rowvar=False).reshape(width, width)
    variances, directions = np.linalg.eigh(covariance)
    variances, directions = variances[::-1][:dim], directions[:, ::-1][:, :dim]  # ascending
    # An eigenvector's sign is arbitrary; fixed, so that equal vectors give equal projections.
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, np.arange(dim)])
    if whiten:
        directions = directions / np.sqrt(np.maximum(variances, _LEAST_VARIANCE * variances[0]))
    projection = build_projection(width, dim, name="pca")
    projection.get_layer("linear").set_weights([directions, -mean @ directions])
    projection.trainable = False
    return projection


def project(teacher: Teacher, projection: keras.Model) -> Teacher:
    """Appends a projection to a teacher.

    Args:
        teacher: The teacher.
        projection: Its PCA, made by `fit_pca`.

    Returns:
        A teacher of the projection's width; a `VectorTable` if `teacher` is one.
    """
    if isinstance(teacher, VectorTable):
        table = VectorTable(teacher.ids, projection(teacher.vectors))
        table.source = teacher.source
        return table
    return _ProjectedTeacher(teacher, projection)


class _ProjectedTeacher(Teacher):
    """Returns a teacher's projected embeddings, and its feature maps as they are."""

    def __init__(self, teacher: Teacher, projection: keras.Model):
        super().__init__(
            lambda images: projection(teacher(images)),
            embedding_dim=projection.output_shape[1],
            image_size=teacher.image_size,
            owner=(teacher.owner, projection),
        )
        self.preprocessing = teacher.preprocessing  # applied by `teacher`
        self._teacher = teacher
        self._projection = projection

    def tap(self, layers: Sequence[str]) -> dict[str, Any]:
        """Taps the teacher; see the base class."""
        return self._teacher.tap(layers)

    def features(self, images: Any) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Projects the teacher's embeddings; see the base class."""
        embedding, maps = self._teacher.features(images)
        return tf.stop_gradient(self._projection(embedding)), maps


def save_projected_teacher(teacher: Teacher, folder: Path, name: str) -> Path | None:
    """Saves a projected teacher, so that a gallery can be embedded by it.

    Args:
        teacher: A teacher made by `project`.
        folder: Folder to put it into.
        name: Name of the file or folder, without a suffix.

    Returns:
        What `load_teacher` reads: a `.keras` file if the teacher is a Keras model on raw pixels,
        which can be exported like any other; a `.npz` table; or a SavedModel folder with the
        signature `serve_float`. `None` for a teacher outside TensorFlow, such as a `.tflite`
        file.

    Raises:
        InputError: If the place cannot be written.
    """
    if isinstance(teacher, VectorTable):
        path = folder / f"{name}.npz"
        with published_file(path) as temporary:
            np.savez(temporary, ids=teacher.ids, vectors=teacher.vectors)
        return path
    owner, projection = teacher.owner
    if isinstance(owner, keras.Model) and teacher.preprocessing == "0_255":
        path = folder / f"{name}.keras"
        image = keras.Input(batch_shape=owner.input_shape, name="image")
        with published_file(path) as temporary:
            embedding = (by_name(owner(image)) or {})[EMBEDDING]
            keras.Model(image, projection(embedding), name=name).save(temporary)
        return path
    if not isinstance(owner, tf.__internal__.tracking.Trackable):
        return None
    module = tf.Module()
    module.owner, module.projection = owner, projection
    size = teacher.image_size
    images = tf.TensorSpec([None, size, size, 3], tf.float32, name="image")
    serve = tf.function(lambda image: {"embedding": teacher(image)}).get_concrete_function(images)
    path = folder / name
    with published_folder(path, keep_existing=False) as temporary:
        tf.saved_model.save(module, str(temporary), signatures={"serve_float": serve})
    return path
