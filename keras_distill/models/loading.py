"""Loading a Keras model that a user named on the command line."""

import zipfile
from pathlib import Path

import keras

from keras_distill.errors import InputError


def load_model(path: str | Path, *, argument: str = "model") -> keras.Model:
    """Loads a `.keras` file.

    Args:
        path: The file, or a run directory that holds `student.keras`.
        argument: Name of the argument that an error message should name.

    Returns:
        The model, not compiled.

    Raises:
        InputError: If there is no such file or it does not hold a Keras model.
    """
    path = Path(path)
    if (path / "student.keras").is_file():
        path = path / "student.keras"
    if not path.exists():
        raise InputError(f"{argument}={str(path)!r} does not exist.")
    if path.is_dir() or path.suffix != ".keras":
        raise InputError(f"{argument}={str(path)!r} is not a .keras file.")
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{argument}={str(path)!r} could not be loaded as a Keras model: {error}"
        ) from error
