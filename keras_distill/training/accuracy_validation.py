"""Accuracy on held-out images during training."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_distill.evaluation.label_scores import score_batches
from keras_distill.teachers.output_teacher import OutputTeacher
from keras_distill.training.epoch_validation import EpochValidation

VALIDATION_ACCURACY = "val_accuracy"


class AccuracyValidation(EpochValidation):
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

    metric = VALIDATION_ACCURACY

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
        super().__init__(every=every, prepare=prepare, common=common)
        self._batches = batches
        self._labels = np.asarray(labels)
        self._product = OutputTeacher.of(product)  # traced once

    def outputs(self) -> np.ndarray:
        """Returns the scores of the images."""
        return score_batches(self._product, self._batches)

    def value(self, outputs: np.ndarray) -> float:
        """Returns the share of images whose highest score is that of their class."""
        return float((np.argmax(outputs, axis=1) == self._labels).mean())
