"""Mean average precision on held-out images during training."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_distill.evaluation.average_precision import LabelRanking
from keras_distill.training.epoch_validation import EpochValidation

VALIDATION_PRECISION = "val_mAP"


class PrecisionValidation(EpochValidation):
    """Adds `val_mAP`, the mean average precision of held-out data, to the logs of an epoch.

    Labels without a positive, or without a negative, have no average precision and do not count.
    Put it before callbacks that read the value, such as `keras.callbacks.EarlyStopping`, which need
    `mode="max"`.

    Args:
        targets: Integers `(n, labels)` in {1, 0, -1}.
        score: Returns the scores of the present weights, float32 `(n, labels)`, such as
            `functools.partial(score_batches, OutputTeacher.of(product), batches)`.
        **options: `every`, `prepare` and `common` of `EpochValidation`.

    Raises:
        InputError: If a number is too small.
    """

    metric = VALIDATION_PRECISION

    def __init__(
        self,
        targets: np.ndarray,
        score: Callable[[], np.ndarray],
        **options: Any,
    ):
        super().__init__(**options)
        self._targets = targets
        self._score = score

    def outputs(self) -> np.ndarray:
        """Returns the scores of the held-out data."""
        return self._score()

    def value(self, outputs: np.ndarray) -> float:
        """Returns the mean of the average precisions."""
        precisions = LabelRanking(outputs, self._targets).average_precision()
        measured = precisions[np.isfinite(precisions)]
        return float(measured.mean()) if len(measured) else 0.0
