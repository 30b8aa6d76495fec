"""A linear map from one embedding space into another."""

import keras
from keras import ops

from keras_distill.models.unit_norm import unit_norm


def build_projection(input_dim: int, output_dim: int, *, name: str = "projection") -> keras.Model:
    """Builds a linear map followed by the unit L2 norm, in float32 under every dtype policy.

    Args:
        input_dim: Width of the embeddings it takes.
        output_dim: Width of those it returns.
        name: Name of the model.

    Returns:
        A functional model from `(batch, input_dim)` to `(batch, output_dim)`, rows of length 1,
        with the layer `linear`.

    Example:
        >>> build_projection(1280, 64).output_shape
        (None, 64)
    """
    vector = keras.Input((input_dim,), name="embedding")
    x = keras.layers.Dense(output_dim, dtype="float32", name="linear")(vector)
    return keras.Model(vector, unit_norm(output_dim)(x), name=name)


def ensure_built(projection: keras.Layer | None, input_dim: int) -> None:
    """Makes the variables of a projection that has not seen an embedding yet.

    A checkpoint is put back before the first batch comes, and holds them.

    Args:
        projection: The layer or model; `None` for none.
        input_dim: Width of the embeddings it takes.
    """
    if projection is not None and not projection.built:
        projection(ops.zeros((1, input_dim)))
