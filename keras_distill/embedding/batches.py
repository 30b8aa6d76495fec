"""Embedding of a whole data set."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.losses.task_loss import integer_labels
from keras_distill.teachers.teacher import Teacher, as_teacher


def embed_batches(
    model: "Teacher | keras.Model | Callable[[Any], Any]",
    batches: tf.data.Dataset,
    *,
    on_batch: Callable[[int], None] | None = None,
    finite: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Embeds every image of a data set, in inference mode.

    Args:
        model: An embedder: a Keras model, a `Teacher`, or a callable on raw images.
        batches: Batches `(x, y)`, such as `evaluation_batches` makes; `x` is a tensor of images, or
            a dict with `image` and, for a table of vectors, `id`; `y` integer labels `(batch,)`.
        on_batch: Called with the number of rows after each batch, to show progress.
        finite: Whether an embedding that is not finite is an error.

    Returns:
        The embeddings, float32 `(n, dim)`, and the labels, int64 `(n,)`.

    Raises:
        InputError: If an embedding has to be finite and is not.

    Example:
        >>> embeddings, labels = embed_batches(
        ...     embedder, evaluation_batches(images, image_size=128)
        ... )  # doctest: +SKIP
    """
    embedder = as_teacher(model)
    embeddings, labels = [], []
    for x, y in batches:
        x = x if isinstance(x, Mapping) else {"image": x}
        answer = embedder(x["image"], x.get("id"))
        embeddings.append((_finite(answer) if finite else answer).numpy())
        labels.append(integer_labels(y).numpy())
        if on_batch is not None:
            on_batch(len(y))
    return np.concatenate(embeddings), np.concatenate(labels)


def _finite(embeddings: Any) -> Any:
    if not tf.reduce_all(tf.math.is_finite(embeddings)):
        raise InputError(
            "`model` returned embeddings that are not finite; it diverged in training, or its "
            "weights are damaged."
        )
    return embeddings
