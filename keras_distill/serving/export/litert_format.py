"""A model as a LiteRT (TensorFlow Lite) file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import ConverterError

from keras_distill.errors import InputError
from keras_distill.native_log import quiet_native_log
from keras_distill.serving.export.inference_model import inference_model


def write_litert(
    model: keras.Model, file: Path, *, precision: str = "float32", images: np.ndarray | None = None
) -> None:
    """Writes a model as a `.tflite` file, of LiteRT's own operations alone.

    - `float32`: weights and arithmetic as in Keras.
    - `float16`: half the size; weights are rounded, arithmetic is float32 on CPUs.
    - `dynamic_int8`: weights of 8 bits; activations are quantised by each image's own range.
    - `int8`: weights, activations and arithmetic of 8 bits, by the ranges of calibration images.
      The final normalisation of embeddings is of 8 bits too, so that lengths are only about 1.

    The input is `image`, `(n, size, size, 3)`, from 0 to 255: float32, but uint8 of scale 1 for
    `int8`. The outputs have their names, such as `embedding`, float32 `(n, dim)`. The size of the
    batch can be changed.

    Args:
        model: A model of images, see `product_shape`, with a fixed image size.
        file: Where to write, ending in `.tflite`.
        precision: One of the four.
        images: What calibrates `int8`, uint8 `(m, size, size, 3)`.

    Raises:
        InputError: If the model has other inputs or outputs, or images are missing.
        RuntimeError: If LiteRT has no operation for something in the model.
    """
    builtins = tf.lite.OpsSet.TFLITE_BUILTINS
    options: dict[str, Any] = {"target_spec": {"supported_ops": [builtins]}}
    if precision != "float32":
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        options["target_spec"]["supported_types"] = [tf.float16]
    if precision == "int8":
        if images is None or not len(images):
            raise InputError("precision='int8' needs images to calibrate with.")
        options["target_spec"]["supported_ops"] = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        options["representative_dataset"] = lambda: _one_by_one(images)
        options["inference_input_type"] = tf.uint8
    inference = inference_model(model)
    try:
        with quiet_native_log():
            inference.export(str(file), format="litert", verbose=False, **options)
    except tf.errors.OpError as error:
        raise OSError(error.message) from error
    except ConverterError as error:
        raise RuntimeError(f"The model could not be converted: {error}") from error


def _one_by_one(images: np.ndarray) -> Iterator[list[np.ndarray]]:
    images = images.astype(np.float32)
    # The range of the input, from which its scale of 1 follows, whatever the images show.
    images[0, 0, 0] = [0, 0, 255]
    for image in images:
        yield [image[None]]
