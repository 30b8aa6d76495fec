"""Scores of a model for the labels of images."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_distill.errors import InputError


def score_batches(
    model: Callable[..., Any],
    batches: tf.data.Dataset,
    *,
    on_batch: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Scores all images of a data set, in inference mode.

    Args:
        model: Keras model of images that returns the scores, or a dict with `logits`.
        batches: Batches of images, or of dicts with `image`; of pairs, the second part is ignored.
        on_batch: Called with the number of rows after each batch, to show progress.

    Returns:
        Scores, float32 `(n, labels)`.

    Raises:
        InputError: If a score is not finite.
    """
    answer_of = tf.function(lambda images: model(images, training=False), reduce_retracing=True)
    scores = []
    for element in batches:
        x = element[0] if isinstance(element, tuple) else element
        answer = answer_of(x["image"] if isinstance(x, Mapping) else x)
        scores.append(np.asarray(answer["logits"] if isinstance(answer, Mapping) else answer))
        if on_batch is not None:
            on_batch(len(scores[-1]))
    found = np.concatenate(scores)
    if not np.isfinite(found).all():
        raise InputError(
            "`model` returned scores that are not finite; it diverged in training, or its weights "
            "are damaged."
        )
    return found
