"""Rows of unit length, for losses on cosines."""

from typing import Any

from keras import ops


def unit_rows(vectors: Any) -> Any:
    """Divides each row by its L2 norm, whatever its scale; a zero row gives zero, without gradient.

    Dividing by the largest entry first keeps the squares within float32.

    Args:
        vectors: Tensor `(n, dim)`.

    Returns:
        float32 tensor `(n, dim)`.
    """
    vectors = ops.cast(vectors, "float32")
    largest = ops.stop_gradient(ops.max(ops.abs(vectors), axis=-1, keepdims=True))
    nonzero = ops.logical_not(largest <= 0.0)  # true for NaN, which must not count as zero
    scaled = vectors / ops.where(nonzero, largest, 1.0)
    squared = ops.sum(ops.square(scaled), axis=-1, keepdims=True)
    return scaled * ops.where(nonzero, ops.rsqrt(ops.where(nonzero, squared, 1.0)), 0.0)
