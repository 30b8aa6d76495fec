"""Loading of `.keras` files."""

import warnings
import zipfile
from pathlib import Path
from typing import Any

import keras

# Keras finds layers of ours in a file only if they are imported before.
import keras_distill.models.album_encoder
import keras_distill.models.cosine_head
import keras_distill.models.each_photograph
import keras_distill.models.label_names
import keras_distill.models.score_scale  # noqa: F401
from keras_distill.errors import InputError
from keras_distill.models.layer_calls import replace_calls


def load_model(path: str | Path) -> keras.Model:
    """Loads a `.keras` file.

    Args:
        path: The file, or a run directory that holds `student.keras` or `model.keras`.

    Returns:
        The model, not compiled.

    Raises:
        InputError: If there is no such file or it does not hold a Keras model.
    """
    path = Path(path)
    for product in ("model.keras", "student.keras"):
        if (path / product).is_file():
            path = path / product
    if not path.exists():
        raise InputError(f"`path={str(path)!r}` does not exist.")
    if path.is_dir() or path.suffix != ".keras":
        raise InputError(f"`path={str(path)!r}` is not a .keras file.")
    try:
        with warnings.catch_warnings():
            # Keras warns of each layer that does not fit, and raises after that.
            warnings.filterwarnings("ignore", "Skipping nested container")
            model = keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, OSError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"`path={str(path)!r}` could not be loaded as a Keras model: {error}"
        ) from error
    replace_calls(model)
    return model


#: Name of the output of a model that returns vectors of length 1.
EMBEDDING = "embedding"


def embedder_shape(model: keras.Model) -> tuple[int | None, int | None]:
    """Checks that a model maps square images to vectors.

    Args:
        model: The model; it may return a dict with the vectors as its only output, `embedding`.

    Returns:
        Height and width of its input in pixels, and the width of its output; `None` if open.

    Raises:
        InputError: If it has another kind of input or output.
    """
    size = input_size(model)
    returns: Any = model.output_shape
    if isinstance(getattr(model, "output", None), dict):  # output_shape hides a single name
        returns = {name: tensor.shape for name, tensor in model.output.items()}
    named = isinstance(returns, dict) and set(returns) == {EMBEDDING}
    outputs = _single_shape(returns[EMBEDDING] if named else returns)
    if outputs is None or len(outputs) != 2:
        raise InputError(
            f"`model` {model.name!r} returns {returns}; it must have one output "
            "(batch, dim), such as a pooled feature; if it returns a dict, named 'embedding'."
        )
    return size, outputs[1]


def input_size(model: keras.Model) -> int | None:
    """Checks that a model takes square images.

    Args:
        model: The model.

    Returns:
        Height and width of its input in pixels; `None` if open.

    Raises:
        InputError: If it has another kind of input.
    """
    takes = getattr(model, "input_shape", "an unknown shape")  # unbuilt or subclassed
    inputs = _single_shape(takes)
    if inputs is None or len(inputs) != 4 or inputs[-1] != 3 or inputs[1] != inputs[2]:
        raise InputError(
            f"`model` {model.name!r} takes {takes}; it must be functional, with one input of "
            "square RGB images, (batch, size, size, 3)."
        )
    return inputs[1]


def _single_shape(shape: Any) -> tuple[int | None, ...] | None:
    """The shape of a single tensor; None for a structure of several."""
    if isinstance(shape, list) and len(shape) == 1:
        shape = shape[0]
    if isinstance(shape, tuple) and all(size is None or isinstance(size, int) for size in shape):
        return shape
    return None
