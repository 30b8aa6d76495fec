"""Layer that applies a model of images to each photograph of albums."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_distill")
class EachPhotograph(keras.layers.Layer):
    """Applies a model of images to each photograph of albums.

    Args:
        model: Model from images `(rows, height, width, 3)` to vectors `(rows, dim)`.
        **kwargs: As of `keras.layers.Layer`.

    Example:
        >>> import keras
        >>> image = keras.Input((8, 8, 3))
        >>> model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
        >>> EachPhotograph(model)(keras.ops.ones((2, 5, 8, 8, 3))).shape
        TensorShape([2, 5, 3])
    """

    def __init__(self, model: keras.Model, **kwargs: Any):
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})  # raw pixels
        self.model = model
        self.built = True

    def call(self, images: Any, training: bool = False) -> Any:
        """Returns the vectors of photographs `(albums, n, height, width, 3)`, float32."""
        shape = ops.shape(images)
        flat = ops.reshape(images, (-1, *images.shape[2:]))
        vectors = ops.cast(self.model(flat, training=training), "float32")
        return ops.reshape(vectors, (shape[0], shape[1], vectors.shape[-1]))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Returns the shape of the vectors."""
        return (*tuple(input_shape)[:2], self.model.output_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "EachPhotograph":
        """Rebuilds the layer from `get_config()`."""
        model = keras.saving.deserialize_keras_object(config["model"])
        return cls(**{**config, "model": model})
