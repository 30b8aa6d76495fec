"""Tables of vectors on disk."""

import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from keras_distill.data.vector_shards import open_shards
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.teachers.vector_table import VectorTable


def load_vectors(path: Path) -> VectorTable:
    """Loads a table of vectors.

    Args:
        path: A `.npz` file with the arrays `ids` and `vectors` (see `VectorTable`); or a `.npy`
            file of the vectors with a text file next to it, `NAME.ids.txt` for `NAME.npy`, of one
            relative path or one id a line; or a folder of `python -m keras_distill.embed`.

    Returns:
        The table.

    Raises:
        InputError: If a file is missing or damaged, or does not hold such arrays.

    Example:
        >>> np.savez("vectors.npz", ids=paths, vectors=vectors)  # doctest: +SKIP
        >>> table = load_vectors(Path("vectors.npz"))  # doctest: +SKIP
    """
    source = f"`path={str(path)!r}`"
    ids: Any
    if path.is_dir():
        with renamed_arguments(folder="path"):
            rows = open_shards(path).read()
        ids, vectors = rows.paths, rows.vectors
    else:
        ids, vectors = _read_arrays(path, source)
    try:
        table = VectorTable(ids, vectors)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    table.source = f"table of vectors {str(path)!r}"
    return table


def _read_arrays(path: Path, source: str) -> tuple[Any, Any]:
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return _read_ids(path, source), content
            return _array(content, "ids", source), _array(content, "vectors", source)
    except InputError:
        raise
    except (
        OSError,
        ValueError,
        OverflowError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise InputError(
            f"{source} could not be read as NumPy arrays without pickled objects: {error}"
        ) from error


def _array(content: Any, name: str, source: str) -> np.ndarray:
    if name not in content.files:
        raise InputError(
            f"{source} has no array {name!r}, only {', '.join(content.files) or 'nothing'}; save "
            "it by np.savez(path, ids=relative_paths, vectors=vectors)."
        )
    return content[name]


def _read_ids(path: Path, source: str) -> Any:
    file = path.with_suffix(".ids.txt")
    if not file.is_file():
        raise InputError(
            f"{source}: {str(file)!r} does not exist; it must hold the relative path, or the id, "
            "of an image a line, in the order of the vectors."
        )
    lines = file.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    if all(re.fullmatch(r"-?\d{1,19}", line) for line in lines):
        return np.array(lines).astype(np.int64)
    return lines
