"""Runtimes that compute the outputs of a Keras teacher."""

import importlib.util

from keras_distill.errors import InputError
from keras_distill.models.file_formats import FILE_FORMATS

RUNTIMES = ("auto", "keras", "onnx")
# A conversion takes as long as about this many pixels of a MobileNetV2: a thousand images of 224
# pixels. A cache that is smaller is filled sooner without it.
ENOUGH_PIXELS = 5e7


def missing_packages() -> list[str]:
    """Returns the packages that ONNX Runtime needs for a Keras model and that are not installed."""
    packages = FILE_FORMATS["onnx"].packages
    return [name for name in packages if importlib.util.find_spec(name) is None]


def check_runtime(runtime: str) -> None:
    """Checks that a runtime exists and is installed.

    Args:
        runtime: One of `RUNTIMES`.

    Raises:
        InputError: If it does not, or is not.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"`runtime={runtime}` is unknown; give one of {', '.join(RUNTIMES)}.")
    if runtime == "onnx" and (missing := missing_packages()):
        raise InputError(
            f"`runtime=onnx` needs {', '.join(missing)}; install by "
            "pip install 'keras_distill[onnx]', or give auto, which does without."
        )


def choose_runtimes(runtime: str, *, is_keras: bool, pixels: int) -> list[str]:
    """Lists the runtimes that may fill a cache, the preferred one first.

    Args:
        runtime: One of `RUNTIMES`.
        is_keras: Whether the teacher is a Keras model.
        pixels: Height times width times the number of views that the cache may hold.

    Returns:
        `["keras"]`, `["onnx"]`, or both for `auto`, where ONNX Runtime is installed. A teacher that
        is no Keras model runs in its own runtime, which `keras` stands for.

    Raises:
        InputError: If the runtime does not exist or is not installed, or the teacher is no Keras
            model and has no choice.
    """
    check_runtime(runtime)
    if not is_keras:
        if runtime != "auto":
            raise InputError(
                f"`runtime={runtime}`: `teacher` is no Keras model and runs in its own runtime; "
                "leave `runtime` out."
            )
        return ["keras"]
    if runtime != "auto":
        return [runtime]
    if missing_packages():
        return ["keras"]
    return ["onnx", "keras"] if pixels >= ENOUGH_PIXELS else ["keras", "onnx"]
