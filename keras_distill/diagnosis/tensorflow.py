"""Checks that need TensorFlow: devices, precisions, a training step, a data set."""

import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_distill.data.dataset import find_images
from keras_distill.data.published_sets import PUBLISHED_SETS
from keras_distill.data.readable_images import drop_unreadable
from keras_distill.diagnosis.installation import MISSING, OK, Finding
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.losses.tensorflow_addons import AddonsLoss

_SAMPLE = 200


def check_devices() -> Finding:
    """Lists the accelerators that TensorFlow sees."""
    names = []
    for device in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        names.append(details.get("device_name", device.name))
    if names:
        return Finding("devices", "gpu", OK, ", ".join(names))
    return Finding(
        "devices",
        "gpu",
        MISSING,
        "",
        "nothing; all runs on the CPU, large backbones slowly",
        "with an NVIDIA GPU and driver: pip install 'tensorflow[and-cuda]~=2.20.0'",
    )


def check_training() -> Finding:
    """Runs a training step of one layer, whose loss must be finite."""
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    model.add(keras.layers.GlobalAveragePooling2D())
    model.compile(optimizer="sgd", loss="mse")
    loss = model.train_on_batch(np.ones((2, 8, 8, 3)), np.zeros((2, 4)))
    if not np.isfinite(loss):
        raise ArithmeticError(f"the loss of one step is {loss}")
    return Finding("devices", "a step of training", OK, f"Keras' backend {keras.backend.backend()}")


def check_addons_loss(installed: Finding) -> Finding:
    """Computes a loss of TensorFlow Addons, which needs the Keras 2 that it was written for.

    Args:
        installed: Finding of `check_addons`.

    Returns:
        The same finding, if the loss is finite.
    """
    loss = AddonsLoss("contrastive")(tf.constant([0, 0, 1, 1]), tf.eye(4))
    if not np.isfinite(loss):
        raise ArithmeticError(f"the contrastive loss is {loss}")
    return installed


def check_precision(name: str) -> Finding:
    """Multiplies and convolves in a precision, and compares the time with float32.

    Args:
        name: `bfloat16` or `float16`.

    Returns:
        The finding, with the speed relative to float32.
    """
    seconds = {kind: _seconds(kind) for kind in ("float32", name)}
    matmul, conv = (a / b for a, b in zip(seconds["float32"], seconds[name], strict=True))
    found = f"matrix product {matmul:.1f} times as fast as float32, convolution {conv:.1f} times"
    return Finding("precision", f"--mixed_precision=mixed_{name}", OK, found)


def check_dataset(name: str, data_dir: str) -> Finding:
    """Lists a data set and decodes a sample of it.

    Args:
        name: See `load_dataset`.
        data_dir: See there.

    Returns:
        The finding, with the number of images and classes; `missing` if the data set would have
        to be downloaded or drawn first.

    Raises:
        InputError: If a folder does not exist, or an image of the sample cannot be decoded.
    """
    if not name.startswith("folder:") and not _is_there(name, Path(data_dir).expanduser()):
        remedy = "" if name == "glyphs" else f"tfds build {PUBLISHED_SETS[name].builder}"
        waits = "nothing; the first command that needs it downloads or draws it"
        return Finding("data", f"--dataset={name}", MISSING, f"in {data_dir}", waits, remedy)
    with renamed_arguments(name="dataset"):
        images = find_images(name, data_dir)
    rows = np.unique(np.linspace(0, len(images) - 1, _SAMPLE).astype(int))
    _, corrupt = drop_unreadable(images.select(rows))
    if corrupt:
        raise InputError(f"{len(corrupt)} of {len(rows)} cannot be decoded, such as {corrupt[0]}")
    found = f"{len(images)} images of {len(images.classes)} classes; decoded {len(rows)}"
    return Finding("data", f"--dataset={name}", OK, found)


def _is_there(name: str, data_dir: Path) -> bool:
    prefix = "glyphs" if name == "glyphs" else PUBLISHED_SETS[name].builder
    return any((data_dir / "keras_distill").glob(f"{prefix}-*"))


def _seconds(kind: str) -> tuple[float, float]:
    matrix = tf.cast(tf.random.stateless_normal([512, 512], [0, 0]), kind)
    image = tf.cast(tf.random.stateless_normal([8, 32, 32, 32], [0, 1]), kind)
    kernel = tf.cast(tf.random.stateless_normal([3, 3, 32, 32], [0, 2]) / 17, kind)
    return _best(lambda: matrix @ matrix), _best(lambda: tf.nn.conv2d(image, kernel, 1, "SAME"))


def _best(run: Any) -> float:
    """The shortest of a few runs, whose result must be finite."""
    shortest = float("inf")
    for _ in range(4):
        begun = time.perf_counter()
        result = run().numpy()
        shortest = min(shortest, time.perf_counter() - begun)
    if not np.isfinite(result.astype(np.float32)).all():
        raise ArithmeticError("the result is not finite")
    return shortest
