"""A model as an ONNX file."""

from pathlib import Path

import keras

from keras_distill.models.onnx_graph import write_onnx_graph
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
    write_onnx_graph(inference_model(model), file)
