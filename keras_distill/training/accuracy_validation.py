"""Accuracy on held-out images during training."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.evaluation.label_scores import score_batches
from keras_distill.teachers.output_teacher import OutputTeacher
from keras_distill.training.divergence_guard import TrainingDiverged

VALIDATION_ACCURACY = "val_accuracy"


class AccuracyValidation(keras.callbacks.Callback):
    """Adds `val_accuracy`, the share of held-out images classified rightly, to the logs.

    Put it before callbacks that read the value, such as `keras.callbacks.EarlyStopping`, which need
    `mode="max"`.

    Args:
        batches: Batches of images, or of dicts with `image`, such as `evaluation_batches` makes; of
            pairs with labels, the labels are ignored. They must end.
        labels: Classes of the images, integers `(n,)`, in their order.
        product: Model of images that returns the logits, or a dict with `logits`.
        every: Number of epochs from one evaluation to the next; the last epoch is always evaluated.
        prepare: Called before each evaluation, such as `AveragedStudent.refresh`.
        common: Turns the value that this process measured into the value of all processes, so that
            they make the same decisions.

    Raises:
        InputError: If a number is too small.
    """

    def __init__(
        self,
        batches: tf.data.Dataset,
        labels: np.ndarray,
        product: keras.Model,
        *,
        every: int = 1,
        prepare: Callable[[], None] = lambda: None,
        common: Callable[[float], float] = lambda value: value,
    ):
        super().__init__()
        if every < 1:
            raise InputError(f"`every={every}` must be at least 1.")
        self._batches = batches
        self._labels = np.asarray(labels)
        self._product = OutputTeacher.of(product)  # traced once
        self._every = every
        self._prepare = prepare
        self._common = common

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        last = epoch + 1 == (self.params or {}).get("epochs")
        if logs is None or ((epoch + 1) % self._every and not last):
            return
        self._prepare()
        try:
            scores = score_batches(self._product, self._batches)
        except InputError as error:
            raise TrainingDiverged(f"In epoch {epoch + 1}, {error}") from error
        right = np.argmax(scores, axis=1) == self._labels
        logs[VALIDATION_ACCURACY] = self._common(float(right.mean()))
