"""Teachers that are LiteRT (TensorFlow Lite) files."""

import contextlib
import math
import os
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_distill.errors import InputError, renamed_arguments
from keras_distill.native_log import quiet_native_log
from keras_distill.teachers.image_size import agreed_image_size, takes_square_images
from keras_distill.teachers.model_fingerprint import fingerprint_of
from keras_distill.teachers.teacher import Teacher


def load_litert(
    path: Path,
    *,
    output: str = "",
    image_size: int | None = None,
    preprocessing: str = "0_255",
) -> Teacher:
    """Loads a `.tflite` file as a teacher, quantised or not.

    It runs on the CPU, outside XLA.

    Args:
        path: The file, with one input of square RGB images.
        output: Name or number of the output; may be empty if only one is a batch of vectors.
        image_size: Height and width of the images, in pixels, for a model that takes any size.
        preprocessing: Scaling of the pixels before the model; see `preprocess`. The scale of a
            quantised input is applied after that.

    Returns:
        The teacher.

    Raises:
        InputError: If the package `ai-edge-litert` is missing, the file is damaged, or the model
            does not map images to vectors.
    """
    source = f"`path={str(path)!r}`"
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise InputError(
            f"{source} needs the package ai-edge-litert ({error}); install it by "
            "pip install 'keras_distill[litert]'."
        ) from error
    try:
        content = path.read_bytes()
        interpreter = Interpreter(model_content=content, num_threads=os.cpu_count())
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{source} could not be loaded: {error}") from error
    image = _image_input(interpreter, source, preprocessing)
    vector = _vector_output(interpreter, source, output)
    height = int(image["shape_signature"][1])
    with renamed_arguments(model=f"path={str(path)!r}"):
        size = agreed_image_size(height if height > 0 else None, image_size)
    run = _Runner(interpreter, image, vector)
    if size is not None:
        try:
            run(np.zeros((1, size, size, 3), np.float32))
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{source} cannot be run: {error}") from error

    def call(images: Any) -> tf.Tensor:
        pixels = tf.cast(images, tf.float32)
        answer = tf.numpy_function(run, [pixels], tf.float32, stateful=False)
        return tf.ensure_shape(answer, [pixels.shape[0], run.dim])

    return Teacher(
        call,
        embedding_dim=run.dim,
        image_size=size,
        preprocessing=preprocessing,
        fingerprint=lambda: fingerprint_of("litert", content, vector["name"], vector["index"]),
        runtime=lambda threads: _Runner(
            Interpreter(model_content=content, num_threads=threads), image, vector
        ),
        versions={"ai-edge-litert": version("ai-edge-litert")},
    )


class _Runner:
    """Runs one interpreter on batches of any size, one batch at a time."""

    def __init__(self, interpreter: Any, image: dict[str, Any], vector: dict[str, Any]):
        self.interpreter = interpreter
        self.image = image
        self.vector = vector
        self.shape: tuple[int, ...] = ()  # for which tensors are allocated
        self.dim = int(vector["shape_signature"][-1])
        self.lock = threading.Lock()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        # The batch size of a model may be fixed by its reshapes; it is mostly 1.
        fixed = int(self.image["shape_signature"][0])
        step = fixed if fixed > 0 else max(len(pixels), 1)
        with self.lock:
            answers = [
                self._run(pixels[begin : begin + step], step)
                for begin in range(0, len(pixels), step)
            ]
        return np.concatenate(answers) if answers else np.zeros((0, self.dim), np.float32)

    def _run(self, pixels: np.ndarray, rows: int) -> np.ndarray:
        real = len(pixels)
        if real < rows:
            pixels = np.pad(pixels, [(0, rows - real), (0, 0), (0, 0), (0, 0)])
        if pixels.shape != self.shape:
            self.interpreter.resize_tensor_input(self.image["index"], pixels.shape, strict=True)
            # The first time it logs its delegate.
            with contextlib.nullcontext() if self.shape else quiet_native_log():
                self.interpreter.allocate_tensors()
            self.shape = pixels.shape
        self.interpreter.set_tensor(self.image["index"], _quantised(pixels, self.image))
        self.interpreter.invoke()
        answer = self.interpreter.get_tensor(self.vector["index"]).reshape(rows, -1)
        return _dequantised(answer[:real], self.vector)


def _image_input(interpreter: Any, source: str, preprocessing: str) -> dict[str, Any]:
    inputs = interpreter.get_input_details()
    shapes = [[None if s < 0 else int(s) for s in i["shape_signature"]] for i in inputs]
    if len(inputs) != 1 or not takes_square_images(shapes[0]):
        raise InputError(
            f"{source} takes {', '.join(map(str, shapes))}; it must have one input of square RGB "
            "images, (batch, size, size, 3)."
        )
    (image,) = inputs
    integers = np.issubdtype(image["dtype"], np.integer) and not image["quantization"][0]
    if integers and (preprocessing != "0_255" or image["dtype"] == np.int8):
        raise InputError(
            f"{source} takes {np.dtype(image['dtype']).name} pixels without a scale, which cannot "
            f"hold what `preprocessing={preprocessing!r}` makes; convert it with another input "
            "type."
        )
    return image


def _vector_output(interpreter: Any, source: str, output: str) -> dict[str, Any]:
    named: dict[str, dict[str, Any]] = {}
    texts = []
    for number, details in enumerate(interpreter.get_output_details()):
        shape = details["shape_signature"].tolist()
        if len(shape) < 2 or math.prod(shape[1:-1]) != 1 or shape[-1] < 0:
            continue
        named |= {str(number): details, details["name"]: details}
        texts.append(f"{number} ({details['name']}, {shape[-1]} values)")
    if output in named:
        return named[output]
    if not output and len(texts) == 1:
        return named[next(iter(named))]
    raise InputError(
        f"{source}: `output={output!r}` is not one of its outputs that are vectors; these are "
        f"{', '.join(texts) or 'none'}."
    )


def _quantised(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    dtype = np.dtype(tensor["dtype"])
    if np.issubdtype(dtype, np.floating):
        return values.astype(dtype)
    scale, zero = tensor["quantization"]
    limits = np.iinfo(dtype)
    return np.clip(np.round(values / (scale or 1.0) + zero), limits.min, limits.max).astype(dtype)


def _dequantised(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    scale, zero = tensor["quantization"]
    return (values.astype(np.float32) - zero) * np.float32(scale or 1.0)
