"""Mean average precision on held-out images during training."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_distill.errors import InputError
from keras_distill.evaluation.average_precision import LabelRanking
from keras_distill.training.divergence_guard import TrainingDiverged

VALIDATION_PRECISION = "val_mAP"


class PrecisionValidation(keras.callbacks.Callback):
    """Adds `val_mAP`, the mean average precision of held-out data, to the logs of an epoch.

    Labels without a positive, or without a negative, have no average precision and do not count.
    Put it before callbacks that read the value, such as `keras.callbacks.EarlyStopping`, which need
    `mode="max"`.

    Args:
        targets: Integers `(n, labels)` in {1, 0, -1}.
        score: Returns the scores of the present weights, float32 `(n, labels)`, such as
            `functools.partial(score_batches, OutputTeacher.of(product), batches)`.
        every: Number of epochs from one evaluation to the next; the last epoch is always evaluated.
        prepare: Called before each evaluation, such as `AveragedStudent.refresh`.
        common: Turns the value that this process measured into the value of all processes, so that
            they make the same decisions.

    Raises:
        InputError: If a number is too small.
    """

    def __init__(
        self,
        targets: np.ndarray,
        score: Callable[[], np.ndarray],
        *,
        every: int = 1,
        prepare: Callable[[], None] = lambda: None,
        common: Callable[[float], float] = lambda value: value,
    ):
        super().__init__()
        if every < 1:
            raise InputError(f"`every={every}` must be at least 1.")
        self._targets = targets
        self._score = score
        self._every = every
        self._prepare = prepare
        self._common = common

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        last = epoch + 1 == (self.params or {}).get("epochs")
        if logs is None or ((epoch + 1) % self._every and not last):
            return
        self._prepare()
        try:
            scores = self._score()
        except InputError as error:
            raise TrainingDiverged(f"In epoch {epoch + 1}, {error}") from error
        precisions = LabelRanking(scores, self._targets).average_precision()
        measured = precisions[np.isfinite(precisions)]
        logs[VALIDATION_PRECISION] = self._common(float(measured.mean()) if len(measured) else 0.0)
