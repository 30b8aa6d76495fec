"""Scores of a model for the labels of images."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.models.label_names import LOGITS
from keras_distill.teachers.output_teacher import OutputTeacher


def score_batches(
    model: Any,
    batches: tf.data.Dataset,
    *,
    on_batch: Callable[[int], object] | None = None,
) -> np.ndarray:
    """Scores all images of a data set, in inference mode.

    Args:
        model: Keras model of images that returns the scores, or a dict with `logits`; or an
            `OutputTeacher`, which is traced once for several calls.
        batches: Batches of images, or of dicts with `image`; of pairs, the second part is ignored.
        on_batch: Called with the number of rows after each batch, to show progress.

    Returns:
        Scores, float32 `(n, labels)`.

    Raises:
        InputError: If a score is not finite.
    """
    scorer, scores = OutputTeacher.of(model), []
    for element in batches:
        x = element[0] if isinstance(element, tuple) else element
        answer = scorer(x["image"] if isinstance(x, Mapping) else x, [LOGITS])
        scores.append(answer[LOGITS].numpy())
        if on_batch is not None:
            on_batch(len(scores[-1]))
    found = np.concatenate(scores)
    if not np.isfinite(found).all():
        raise InputError(
            "`model` returned scores that are not finite; it diverged in training, or its weights "
            "are damaged."
        )
    return found
