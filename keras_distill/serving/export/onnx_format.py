"""A model as an ONNX file."""

import warnings
from pathlib import Path

import keras

from keras_distill.native_log import quiet_native_log
from keras_distill.serving.export.inference_model import inference_model


def write_onnx(model: keras.Model, file: Path) -> None:
    """Writes a model as an `.onnx` file in float32, by Keras' own exporter.

    The input is `image`, float32 `(n, size, size, 3)`, from 0 to 255, the outputs have their
    names, such as `embedding`, float32 `(n, dim)`.

    Args:
        model: A model of images, see `product_shape`, with a fixed image size.
        file: Where to write.

    Raises:
        InputError: If the model has other inputs or outputs.
    """
    inference = inference_model(model)
    (image,) = inference.inputs
    spec = keras.InputSpec(shape=image.shape, dtype="float32", name=image.name)
    with warnings.catch_warnings(), quiet_native_log():
        # Keras asks NumPy for a name that tf2onnx wants and NumPy 2 has no more.
        warnings.filterwarnings("ignore", ".*np.object", FutureWarning)
        inference.export(str(file), format="onnx", verbose=False, input_signature=[spec])
