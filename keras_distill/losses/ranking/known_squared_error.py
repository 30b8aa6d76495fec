"""Squared error of a score or a density map, of the rows that have a target."""

from typing import Any

import keras
from keras import ops

from keras_distill.errors import InputError
from keras_distill.losses.labels.label_loss import LabelLoss


@keras.saving.register_keras_serializable("keras_distill")
class KnownSquaredError(LabelLoss):
    """Squared error, summed over the entries of a row, averaged over rows with a target.

    `L = 1/|K| sum_{i in K} |y_i - f_i|^2`, K the rows whose target is not NaN. So labelled images
    and ranked ones, which have no score, can be in one batch. For a density map it is the mean over
    the images of the squared Frobenius distance, L_c of crowd counting (CVPR 2018, arXiv
    1803.03095); for a score, twice the Euclidean loss of Caffe, which RankIQA is fine-tuned by.

    Args:
        reduction: `"mean"` over known rows, or `"sum"`.
        name: Name under which the value is reported.

    Raises:
        InputError: If the reduction is unknown.

    Example:
        >>> import numpy as np
        >>> float(KnownSquaredError()([1.0, np.nan, 2.0], [2.0, 5.0, 2.0]))
        0.5
    """

    def __init__(self, reduction: str = "mean", *, name: str = "known_squared_error"):
        super().__init__(reduction, name)

    def total_and_count(self, targets: Any, outputs: Any, sample_weight: Any) -> tuple[Any, Any]:
        """Computes the sum over the known rows, and their number; see the base class.

        Args:
            targets: Floats of the shape of the outputs; NaN in all entries of a row without one.
            outputs: float32 tensor `(n, ...)`.
            sample_weight: float32 tensor `(n,)`, or `None`.

        Returns:
            Two scalar float32 tensors.

        Raises:
            InputError: If the shapes do not fit.
        """
        targets = ops.cast(targets, "float32")
        if len(targets.shape) + 1 == len(outputs.shape) and outputs.shape[-1] == 1:
            targets = targets[..., None]
        elif len(outputs.shape) + 1 == len(targets.shape) and targets.shape[-1] == 1:
            outputs = outputs[..., None]
        if len(targets.shape) != len(outputs.shape) or any(
            a != b for a, b in zip(targets.shape, outputs.shape, strict=True) if a and b
        ):
            raise InputError(
                f"{self.name}: targets have the shape {tuple(targets.shape)}, outputs "
                f"{tuple(outputs.shape)}; give both the same."
            )
        # Of unknown entries not even the square may be computed: its gradient would be NaN.
        known = ~ops.isnan(targets)
        errors = ops.where(known, outputs - ops.where(known, targets, 0.0), 0.0)
        inner = tuple(range(1, len(outputs.shape)))
        squares = ops.sum(ops.square(errors), axis=inner) if inner else ops.square(errors)
        rows = ops.all(known, axis=inner) if inner else known
        squares = ops.where(rows, squares, 0.0)
        if sample_weight is not None:
            squares = squares * ops.reshape(sample_weight, [-1])
        return ops.sum(squares), ops.sum(ops.cast(rows, "float32"))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {"reduction": self.reduction, "name": self.name}
