"""Confidence gap between the true and the false labels of images."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_distill")
class ConfidenceGap(keras.metrics.Metric):
    """Mean probability of being right at true labels, minus the same at false labels.

    `mean_{y = 1} p - mean_{y = 0} (1 - p)` with `p = sigmoid(logit)`, over all entries. Where few
    labels are true, a network is surer of the false ones, and the gap is negative. Targets of -1
    are not annotated and count for nothing; without true or without false labels the gap is 0. See
    `AdaptiveAsymmetry`.

    Args:
        name: Name under which the value is reported.

    Example:
        >>> gap = ConfidenceGap()
        >>> gap.update_state([[1, 0, -1]], [[0.0, -100.0, 5.0]])  # targets, logits
        >>> float(gap.result())
        -0.5
    """

    def __init__(self, name: str = "confidence_gap"):
        super().__init__(name=name, dtype="float32")
        self._sums = [
            self.add_variable((), keras.initializers.Zeros(), name=sum_)
            for sum_ in ("true_right", "true", "false_right", "false")
        ]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: Tensor `(batch, classes)` of 1, 0 and -1.
            y_pred: Logits `(batch, classes)`.
            sample_weight: Optional tensor `(batch,)` or `(batch, classes)`.
        """
        y = ops.cast(y_true, "float32")
        p = ops.sigmoid(ops.cast(y_pred, "float32"))
        weight = ops.cast(y >= 0.0, "float32")
        if sample_weight is not None:
            sample_weight = ops.cast(sample_weight, "float32")
            if len(sample_weight.shape) == 1:
                sample_weight = sample_weight[:, None]
            weight *= sample_weight
        true, false = weight * y, weight * (1.0 - y)
        for total, values in zip(
            self._sums, (true * p, true, false * (1.0 - p), false), strict=True
        ):
            total.assign_add(ops.sum(values))

    def result(self) -> Any:
        """Returns the gap of what was added since the last reset."""
        true_right, true, false_right, false = map(ops.convert_to_tensor, self._sums)
        both = ops.logical_and(true > 0.0, false > 0.0)
        gap = ops.divide_no_nan(true_right, true) - ops.divide_no_nan(false_right, false)
        return ops.where(both, gap, 0.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {"name": self.name}
