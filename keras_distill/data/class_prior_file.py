"""Class prior as a CSV file."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_distill.errors import InputError
from keras_distill.publishing import published_file

_COLUMNS = ["class", "prior"]


def write_class_prior(path: str | Path, class_names: Sequence[str], prior: Any) -> None:
    """Writes the share of the images for which each class is true.

    Args:
        path: The file, with the columns `class` and `prior`.
        class_names: Names of the classes.
        prior: Numbers from 0 to 1, `(classes,)`.

    Raises:
        InputError: If there is not one number for each class, or the file cannot be written.
    """
    if len(class_names) != len(prior):
        raise InputError(
            f"`class_names` has {len(class_names)} names, and `prior` {len(prior)} numbers."
        )
    with (
        published_file(Path(path)) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        # float32 in as many digits as it takes to read the same number again
        numbers = [str(value) for value in np.asarray(prior, np.float32)]
        writer.writerows(zip(class_names, numbers, strict=True))


def read_class_prior(path: str | Path, class_names: Sequence[str]) -> np.ndarray:
    """Reads what `write_class_prior` wrote, or a file like it in another order.

    Args:
        path: The file.
        class_names: Names of the classes, in the order of the result.

    Returns:
        float32 array `(classes,)`.

    Raises:
        InputError: If the file cannot be read, a row is bad, or the classes are others.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "prior.csv"
        >>> write_class_prior(path, ["cat", "dog"], [0.5, 0.25])
        >>> read_class_prior(path, ["dog", "cat"]).tolist()
        [0.25, 0.5]
    """
    try:
        # A spreadsheet may put a byte order mark in front.
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"`prior={path}` cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"`prior={path}` is no text in UTF-8: {error}.") from error
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        found = _read_rows(path, rows)
    except csv.Error as error:
        raise InputError(f"`prior={path}`, line {rows.line_num}: {error}.") from error
    of_class = {name: value for name, (value, _) in found.items()}
    if missing := [name for name in class_names if name not in of_class]:
        raise InputError(
            f"`prior={path}` lacks {len(missing)} of {len(class_names)} classes, such as "
            f"{missing[0]!r}; estimate it for the classes that are trained on."
        )
    for name in found.keys() - set(class_names):
        raise InputError(
            f"`prior={path}`, line {found[name][1]}: {name!r} is not a class that is trained on; "
            "estimate it for these classes."
        )
    return np.array([of_class[name] for name in class_names], np.float32)


def _read_rows(path: str | Path, rows: Any) -> dict[str, tuple[float, int]]:
    """The prior of each class, and the line that it is in."""
    columns: list[str] = next(rows, [])
    if columns != _COLUMNS:
        raise InputError(
            f"`prior={path}`, line 1: the columns are {','.join(columns)!r}; they must be "
            f"{','.join(_COLUMNS)!r}."
        )
    found: dict[str, tuple[float, int]] = {}
    for row in rows:
        where = f"`prior={path}`, line {rows.line_num}"
        if not row:
            continue
        if len(row) != len(_COLUMNS):
            raise InputError(f"{where}: {len(row)} values; give a class and its prior.")
        name, text = row
        if name in found:
            raise InputError(f"{where}: {name!r} was in line {found[name][1]} already.")
        value = _number(text)
        if not 0 <= value <= 1:
            raise InputError(f"{where}: {text!r} is no prior; give a number from 0 to 1.")
        found[name] = value, rows.line_num
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
