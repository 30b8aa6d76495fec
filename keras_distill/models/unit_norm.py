"""The unit L2 norm at the end of an embedder."""

import keras
from keras import ops


def unit_norm(dim: int) -> keras.Model:
    """Builds the division by the L2 norm in float32, safe for a zero vector and for any scale.

    `keras.layers.UnitNormalization` turns vectors shorter than 1e-12 (an untrained MobileNet makes
    them) into zeros, with a gradient of 1e12. Dividing by the largest entry first avoids both; the
    result does not depend on that factor, so neither does the gradient.

    Args:
        dim: Width of the vectors.

    Returns:
        A functional model from `(batch, dim)` to `(batch, dim)`, made of Keras' own operations.
    """
    vector = keras.Input((dim,), name="vector")
    x = ops.cast(vector, "float32")
    largest = ops.stop_gradient(ops.max(ops.abs(x), axis=-1, keepdims=True))
    nonzero = largest > 0.0
    x = x / ops.where(nonzero, largest, 1.0)
    squared = ops.sum(ops.square(x), axis=-1, keepdims=True)
    x = x * ops.rsqrt(ops.where(nonzero, squared, 1.0))
    return keras.Model(vector, x, name="unit_norm")
