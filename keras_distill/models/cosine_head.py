"""Head of a classifier that compares features with a vector of each class by their cosine."""

from typing import Any

import keras
from keras import ops

from keras_distill.errors import InputError
from keras_distill.models.unit_norm import unit_norm

_LENGTH = 0.01  # of an entry of a class vector in the beginning, about


@keras.saving.register_keras_serializable("keras_distill")
class CosineHead(keras.layers.Layer):
    """Returns `scale cos(x, w_c)` for each class `c`: ArcFace's matrix, or proxies, as a head.

    Only the direction of a class vector counts. It starts short, with entries of about 0.01, as the
    class vectors of `ArcFace` do: Adam moves each entry by about the learning rate, so that a short
    vector turns fast.

    Args:
        units: Number of classes.
        scale: Factor of the cosines, the inverse of a temperature, such as 64.
        **kwargs: As of `keras.layers.Layer`.

    Raises:
        InputError: If the scale is not positive.

    Example:
        >>> import numpy as np
        >>> head = CosineHead(2, scale=10.0)
        >>> head.build((None, 2))
        >>> head.set_weights([np.float32([[3, 0], [0, 1]])])
        >>> head(np.float32([[2, 0]])).numpy().tolist()
        [[10.0, 0.0]]
    """

    def __init__(self, units: int, scale: float = 64.0, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        if not 0 < scale < float("inf"):
            raise InputError(f"`scale={scale}` must be positive, such as 64.")
        self.units = units
        self.scale = scale

    def build(self, input_shape: Any) -> None:
        """Creates the class vectors, a column each."""
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.units),
            initializer=keras.initializers.RandomNormal(stddev=_LENGTH),
        )
        self._unit = unit_norm(input_shape[-1])

    def call(self, features: Any) -> Any:
        """Returns the logits, float32 `(batch, units)`."""
        classes = self._unit(ops.transpose(self.kernel))
        return self.scale * ops.matmul(self._unit(features), ops.transpose(classes))

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Returns the shape of the logits."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "units": self.units, "scale": self.scale}
