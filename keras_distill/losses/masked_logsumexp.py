"""Logarithm of a sum of exponentials over the entries in a mask."""

from typing import Any

from keras import ops

_ABSENT = -1e38  # stands for log(0): below anything that is compared, finite in float32


def masked_logsumexp(values: Any, mask: Any, axis: int) -> Any:
    """Computes `log(sum(exp(values)))` over the entries in a mask.

    Where the mask is empty, the result is about -1e38 and its gradient 0; `softplus` then makes
    `log(1 + sum(exp(values)))` the 0 it should be.

    Args:
        values: float32 tensor.
        mask: Boolean tensor of the same shape.
        axis: The axis to sum over.

    Returns:
        float32 tensor without that axis.
    """
    return ops.logsumexp(ops.where(mask, values, _ABSENT), axis=axis)
