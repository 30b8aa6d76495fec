"""The unit L2 norm at the end of an embedder."""

import keras
import numpy as np
from keras import ops

from keras_distill.errors import InputError

_NAME = "unit_norm"


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
    return keras.Model(vector, x, name=_NAME)


def find_unit_norm(model: keras.Model) -> keras.Layer | None:
    """Finds the layer that ends a model by dividing its vectors by their length.

    Args:
        model: A functional or sequential model from images to vectors.

    Returns:
        The layer, of `unit_norm` or `keras.layers.UnitNormalization`; `None` if the model ends
        without one.

    Raises:
        InputError: If the model's vectors have length 1, but by another layer or operation.
    """
    last = model.layers[-1]
    if isinstance(last, keras.layers.UnitNormalization) or (
        isinstance(last, keras.Model) and last.name.startswith(_NAME)
    ):
        return last
    shape = [side or 32 for side in model.input_shape[1:]]
    images = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype("float32")
    lengths = np.linalg.norm(ops.convert_to_numpy(ops.cast(model(images), "float32")), axis=-1)
    if np.allclose(lengths, 1.0, atol=1e-2):
        raise InputError(
            f"`model` {model.name!r} ends by dividing its vectors by their length, in a way "
            "that is not known, so that the vectors before it are not found; end it with "
            "keras.layers.UnitNormalization(), or build it with build_embedder()."
        )
    return None
