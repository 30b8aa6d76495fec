"""What is converted of an embedder."""

import keras

from keras_distill.errors import InputError
from keras_distill.models.float32 import as_float32
from keras_distill.models.loading import embedder_shape


def inference_model(model: keras.Model) -> keras.Model:
    """Copies an embedder in float32, of Keras' own layers, with named input and output.

    Args:
        model: An embedder with a fixed image size, of any dtype policy; it may have been given
            fused batch normalisations, which the copy has not.

    Returns:
        A model from `image`, float32 `(n, size, size, 3)`, to a dict of `embedding`, `(n, dim)`.

    Raises:
        InputError: If the model is not an embedder, or takes images of any size.
    """
    size, _ = embedder_shape(model)
    if size is None:
        raise InputError("model takes images of any size; build it with a fixed image_size.")
    plain = keras.models.clone_model(model)
    plain.set_weights(model.get_weights())
    image = keras.Input((size, size, 3), name="image")
    return keras.Model(image, {"embedding": as_float32(plain)(image)})
