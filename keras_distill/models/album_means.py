"""Means over the images of an album: the baselines of `AlbumEncoder`."""

from typing import Any

import keras
from keras import ops

from keras_distill.errors import InputError


def mean_vectors(vectors: Any, mask: Any = None) -> Any:
    """Averages the vectors of each album.

    Args:
        vectors: Tensor `(batch, n, dim)`.
        mask: Whether there is an image in each place, `(batch, n)`; all of them if `None`.

    Returns:
        float32 `(batch, dim)`; zeros for an album without images.

    Example:
        >>> mean_vectors([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]], [[1, 1, 0]]).numpy().tolist()
        [[2.0, 3.0]]
    """
    vectors = ops.cast(_tensor(vectors), "float32")
    if mask is None:
        return ops.mean(vectors, axis=1)
    present = ops.cast(_tensor(mask), "bool")[..., None]
    total = ops.sum(ops.where(present, vectors, 0.0), axis=1)
    return total / ops.maximum(ops.sum(ops.cast(present, "float32"), axis=1), 1.0)


def mean_probabilities(logits: Any, mask: Any = None, *, activation: str = "softmax") -> Any:
    """Averages the probabilities that the images of each album have.

    Args:
        logits: Logits of each image, `(batch, n, classes)`.
        mask: As of `mean_vectors`.
        activation: `"softmax"`, as in the published code of PETA, or `"sigmoid"`.

    Returns:
        float32 `(batch, classes)`; zeros for an album without images.

    Raises:
        InputError: If there is no such activation.

    Example:
        >>> mean_probabilities([[[0.0, 0.0], [100.0, 0.0]]]).numpy().tolist()
        [[0.75, 0.25]]
    """
    if activation not in ("softmax", "sigmoid"):
        raise InputError(f"`activation={activation!r}` is unknown; give softmax or sigmoid.")
    logits = ops.cast(_tensor(logits), "float32")
    if activation == "sigmoid":
        return mean_vectors(ops.sigmoid(logits), mask)
    return mean_vectors(ops.softmax(logits, axis=-1), mask)


def _tensor(values: Any) -> Any:
    return values if keras.backend.is_keras_tensor(values) else ops.convert_to_tensor(values)
