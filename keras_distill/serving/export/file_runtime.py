"""Exported files run by their own runtimes."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_distill.native_log import quiet_native_log

#: From images, `(n, size, size, 3)`, to the outputs by name, float32 `(n, ...)`.
Runtime = Callable[[np.ndarray], dict[str, np.ndarray]]


def load_file(file: Path) -> Runtime:
    """Loads a file that `write_litert` or `write_onnx` wrote.

    Args:
        file: A `.tflite` or `.onnx` file.

    Returns:
        What runs it on images, uint8 or float from 0 to 255.
    """
    return _onnx(file) if file.suffix == ".onnx" else _litert(file)


def _litert(file: Path) -> Runtime:
    from ai_edge_litert.interpreter import Interpreter

    with quiet_native_log():  # it tells of its delegate
        run = Interpreter(str(file), num_threads=os.cpu_count()).get_signature_runner()
        (image,) = run.get_input_details().values()
        run(image=np.zeros((1, *image["shape"][1:]), image["dtype"]))

    def call(images: np.ndarray) -> dict[str, np.ndarray]:
        return run(image=images.astype(image["dtype"]))

    return call


def _onnx(file: Path) -> Runtime:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def call(images: np.ndarray) -> dict[str, np.ndarray]:
        answers = session.run(names, {"image": images.astype(np.float32)})
        return dict(zip(names, answers, strict=True))

    return call
