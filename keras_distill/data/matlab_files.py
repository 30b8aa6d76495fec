"""Variables of MATLAB files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError


def read_matlab(file: Path, *variables: str) -> Any:
    """Reads the first of some variables that a `.mat` file has.

    Args:
        file: The file, of MATLAB 7.2 or older.
        *variables: Their names.

    Returns:
        The value, as of `scipy.io.loadmat`.

    Raises:
        InputError: If the file cannot be read or has none of them.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        found = loadmat(file)
    except (OSError, ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise InputError(
            f"{str(file)!r} cannot be read as a MATLAB file ({error}); restore it, or save it in "
            "the format of MATLAB 7."
        ) from error
    for name in variables:
        if name in found:
            return found[name]
    raise InputError(
        f"{str(file)!r} has no variable {_listed(variables)}; it has "
        f"{_listed([name for name in found if not name.startswith('__')])}."
    )


def _listed(names: Sequence[str]) -> str:
    return " or ".join(map(repr, names)) if names else "none"
