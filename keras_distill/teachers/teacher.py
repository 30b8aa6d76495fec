"""A teacher: a frozen map from raw images to embeddings."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.models.loading import embedder_shape


class Teacher:
    """Anything that yields teacher embeddings, frozen and in inference mode.

    A plain object on purpose: a `keras.Model` that holds it neither tracks, trains, saves nor
    counts the teacher's weights.

    Args:
        function: Maps images `(batch, height, width, 3)`, RGB from 0 to 255, to embeddings
            `(batch, dim)`.
        embedding_dim: Width of the embeddings; `None` if unknown.
        image_size: Height and width that `function` needs, in pixels; `None` if it takes any.
        owner: What must stay alive as long as `function` does, such as a loaded SavedModel.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        embedding_dim: int | None = None,
        image_size: int | None = None,
        owner: Any = None,
    ):
        self.embedding_dim = embedding_dim
        self.image_size = image_size
        # Traced once, however often and from wherever it is called.
        self._function = tf.function(function, autograph=False, reduce_retracing=True)
        self._owner = owner

    def __call__(self, images: Any) -> tf.Tensor:
        """Embeds a batch of raw images.

        Args:
            images: Tensor `(batch, height, width, 3)`, RGB from 0 to 255, uint8 or float.

        Returns:
            float32 tensor `(batch, dim)` without gradient.
        """
        return tf.stop_gradient(tf.cast(self._function(images), tf.float32))


def as_teacher(model: "Teacher | keras.Model | Callable[[Any], Any]") -> Teacher:
    """Wraps a Keras model or a function from images to embeddings as a `Teacher`.

    Args:
        model: A `Teacher` (returned as it is), a Keras model with one image input and one output
            `(batch, dim)`, or a callable on raw images.

    Returns:
        The teacher.

    Raises:
        InputError: If a Keras model has another kind of input or output.
    """
    if isinstance(model, Teacher):
        return model
    if not isinstance(model, keras.Model):
        if not callable(model):
            raise InputError(
                f"teacher={model!r} is neither a Keras model nor callable on a batch of images."
            )
        return Teacher(model)
    image_size, embedding_dim = embedder_shape(model, argument="teacher")
    return Teacher(
        lambda images: model(images, training=False),
        embedding_dim=embedding_dim,
        image_size=image_size,
        owner=model,
    )
