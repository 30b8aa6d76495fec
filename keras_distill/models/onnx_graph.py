"""Keras models as ONNX graphs."""

import warnings
from pathlib import Path

import keras

from keras_distill.native_log import quiet_native_log


def write_onnx_graph(model: keras.Model, file: Path) -> None:
    """Writes a model as an `.onnx` file, by Keras' own exporter and without its messages.

    Args:
        model: A functional model of float32 layers with one input. Its outputs are a dict, whose
            keys become their names in the file.
        file: Where to write.
    """
    (image,) = model.inputs
    spec = keras.InputSpec(shape=image.shape, dtype=image.dtype, name=image.name)
    with warnings.catch_warnings(), quiet_native_log():
        # Keras asks NumPy for a name that tf2onnx wants and NumPy 2 has no more.
        warnings.filterwarnings("ignore", ".*np.object", FutureWarning)
        model.export(str(file), format="onnx", verbose=False, input_signature=[spec])
