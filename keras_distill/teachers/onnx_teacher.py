"""Teachers that are ONNX files."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_distill.errors import InputError, renamed_arguments
from keras_distill.teachers.image_size import agreed_image_size, takes_square_images
from keras_distill.teachers.model_fingerprint import fingerprint_of
from keras_distill.teachers.onnx_session import open_session
from keras_distill.teachers.teacher import Teacher


def load_onnx(
    path: Path,
    *,
    output: str = "",
    image_size: int | None = None,
    preprocessing: str = "0_255",
) -> Teacher:
    """Loads an `.onnx` file as a teacher.

    It runs on the CPU by ONNX Runtime, outside XLA.

    Args:
        path: The file, with one float32 input of square RGB images, channels last.
        output: Name of the output; may be empty if only one is a batch of vectors.
        image_size: Height and width of the images, in pixels, for a model that takes any size.
        preprocessing: Scaling of the pixels before the model; see `preprocess`.

    Returns:
        The teacher.

    Raises:
        InputError: If the package `onnxruntime` is missing, the file is damaged, or the model does
            not map images to vectors.
    """
    source = f"`path={str(path)!r}`"
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"{source} needs the package onnxruntime ({error}); install it by "
            "pip install 'keras_distill[onnx]'."
        ) from error

    try:
        content = path.read_bytes()
        loaded = open_session(content, os.cpu_count() or 1)
    except Exception as error:  # ONNX Runtime has a dozen of its own, without a common base
        raise InputError(f"{source} could not be loaded: {error}") from error
    image = _image_input(loaded, source)
    vector = _vector_output(loaded, source, output)
    height, dim = image.shape[1], vector.shape[-1]
    with renamed_arguments(model=f"path={str(path)!r}"):
        size = agreed_image_size(height if isinstance(height, int) else None, image_size)
    runner = _runner(loaded, image, vector)

    def call(images: Any) -> tf.Tensor:
        pixels = tf.cast(images, tf.float32)
        answer = tf.numpy_function(runner, [pixels], tf.float32, stateful=False)
        return tf.ensure_shape(answer, [pixels.shape[0], dim])

    return Teacher(
        call,
        embedding_dim=dim,
        image_size=size,
        preprocessing=preprocessing,
        fingerprint=lambda: fingerprint_of("onnx", content, vector.name),
        runtime=lambda threads: _runner(open_session(content, threads), image, vector),
        versions={"onnxruntime": onnxruntime.__version__},
    )


def _runner(session: Any, image: Any, vector: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Runs a session on batches of any size, also if the model has a fixed one."""
    fixed = image.shape[0] if isinstance(image.shape[0], int) else None

    def run(pixels: np.ndarray) -> np.ndarray:
        answers = [np.zeros((0, vector.shape[-1]), np.float32)]
        step = fixed or max(len(pixels), 1)
        for begin in range(0, len(pixels), step):
            batch = pixels[begin : begin + step]
            missing = (fixed or len(batch)) - len(batch)
            batch = np.pad(batch, [(0, missing), (0, 0), (0, 0), (0, 0)])
            (answer,) = session.run([vector.name], {image.name: batch})
            answers.append(answer[: len(answer) - missing].reshape(-1, vector.shape[-1]))
        return np.concatenate(answers)

    return run


def _image_input(session: Any, source: str) -> Any:
    inputs = session.get_inputs()
    shapes = [[size if isinstance(size, int) else None for size in i.shape] for i in inputs]
    types = [i.type for i in inputs]
    if types != ["tensor(float)"] or not takes_square_images(shapes[0]):
        described = (f"{i.name} {i.type} {i.shape}" for i in inputs)
        raise InputError(
            f"{source} takes {', '.join(described)}; it must have one float32 input of square RGB "
            "images, channels last, (batch, size, size, 3)."
        )
    return inputs[0]


def _vector_output(session: Any, source: str, output: str) -> Any:
    named = {
        one.name: one
        for one in session.get_outputs()
        if one.type == "tensor(float)" and len(one.shape) == 2 and isinstance(one.shape[1], int)
    }
    if output in named:
        return named[output]
    if not output and len(named) == 1:
        return next(iter(named.values()))
    texts = [f"{name} ({one.shape[1]} values)" for name, one in named.items()]
    raise InputError(
        f"{source}: `output={output!r}` is not one of its outputs that are vectors; these are "
        f"{', '.join(texts) or 'none'}."
    )
