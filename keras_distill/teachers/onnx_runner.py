"""Functions of TensorFlow, converted to ONNX and run by ONNX Runtime."""

import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_distill.models.onnx_graph import write_onnx_graph
from keras_distill.teachers.onnx_session import open_session

# Images that a core answers at once: their feature maps stay in its cache, and no core waits for
# the others, as it would at the end of each operation that they share.
_ROWS = 2


class OnnxRunner:
    """A frozen copy of a function of images, with its weights, run by ONNX Runtime on all cores.

    Args:
        function: Maps images, uint8 `(batch, image_size, image_size, 3)`, to float32 tensors by
            name.
        image_size: Height and width of the images, in pixels.

    Raises:
        Exception: If it cannot be converted or run; of many kinds, without a common base.

    Example:
        >>> run = OnnxRunner(
        ...     lambda x: {"mean": tf.reduce_mean(tf.cast(x, "float32"), [1, 2])}, 8
        ... )  # doctest: +SKIP
        >>> run(np.full((2, 8, 8, 3), 7, np.uint8))["mean"].tolist()  # doctest: +SKIP
        [[7.0, 7.0, 7.0], [7.0, 7.0, 7.0]]
    """

    def __init__(self, function: Callable[[Any], Mapping[str, tf.Tensor]], image_size: int):
        names: list[str] = []

        def outputs(images: Any) -> dict[str, tf.Tensor]:
            found = function(images)
            names[:] = found  # those of layers may have characters that ONNX has not
            return {_output(place): value for place, value in enumerate(found.values())}

        image = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
        model = keras.Model(image, _Outputs(outputs)(image))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "teacher.onnx"
            write_onnx_graph(model, file)
            self._graph = file.read_bytes()
        self._names = names
        self._session: Any = None
        self._pool: ThreadPoolExecutor | None = None

    def __call__(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the function.

        Args:
            pixels: Images, uint8 `(batch, image_size, image_size, 3)`.

        Returns:
            float32 arrays by name.
        """
        if self._pool is None:
            self._session = open_session(self._graph, 1)
            self._pool = ThreadPoolExecutor(os.cpu_count() or 1)
        names = [_output(place) for place in range(len(self._names))]

        def run(begin: int) -> list[np.ndarray]:
            return self._session.run(names, {"image": pixels[begin : begin + _ROWS]})

        parts = list(self._pool.map(run, range(0, max(len(pixels), 1), _ROWS)))
        arrays = (np.concatenate(part) for part in zip(*parts, strict=True))
        return dict(zip(self._names, arrays, strict=True))

    def release(self) -> None:
        """Gives back the memory and the threads of ONNX Runtime until the next call."""
        if self._pool is not None:
            self._pool.shutdown()
        self._session = self._pool = None


class _Outputs(keras.layers.Layer):
    """A function as a layer, which does not track what the function uses."""

    def __init__(self, function: Callable[[Any], dict[str, tf.Tensor]]):
        super().__init__(autocast=False)
        self._function = function

    def call(self, images: Any) -> dict[str, Any]:
        return self._function(images)


def _output(place: int) -> str:
    return f"output_{place}"
