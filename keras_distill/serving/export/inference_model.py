"""Float32 copy of a model, from which files are converted."""

import keras

from keras_distill.errors import InputError
from keras_distill.models.float32 import as_float32
from keras_distill.models.product import by_name, product_shape


def inference_model(model: keras.Model) -> keras.Model:
    """Copies a model in float32, of Keras' own layers, with named input and outputs.

    Args:
        model: A model of images, see `product_shape`, with a fixed image size, of any dtype policy;
            it may have been given fused batch normalisations, which the copy has not.

    Returns:
        A model from `image`, float32 `(n, size, size, 3)`, to a dict of its outputs by name,
        such as `embedding`, `(n, dim)`.

    Raises:
        InputError: If the model has other inputs or outputs, or takes images of any size.
    """
    size = product_shape(model).image_size
    if size is None:
        raise InputError("model takes images of any size; build it with a fixed image_size.")
    plain = keras.models.clone_model(model)
    plain.set_weights(model.get_weights())
    image = keras.Input((size, size, 3), name="image")
    return keras.Model(image, by_name(as_float32(plain)(image)))
