"""Word vectors of labels, from the usual files."""

import gzip
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from keras_distill.errors import InputError

_JOINTS = re.compile(r"[\s_\-/]+")


def load_word_vectors(path: str | Path, names: Sequence[str]) -> np.ndarray:
    """Loads the word vector of each name.

    A name is looked up as it is, then in lower case, each with its words joined by blanks,
    underscores or hyphens (`traffic light`, `traffic_light`, `traffic-light`). If there is no such
    entry, the vector of a name of several words is the mean of the vectors of its words, each as it
    is or in lower case. Vectors are returned as they are in the file, of any length.

    Args:
        path: A text file with a word and its numbers in each line, separated by blanks or tabs, as
            of GloVe, of word2vec and of fastText (`.vec`), the last two with a first line of the
            number of words and the width; the same compressed (`.gz`); or an `.npz` file with the
            arrays `names` (strings) and `vectors` `(n, d)`. Of a word that stands there twice, the
            first one counts.
        names: The names, such as those of labels.

    Returns:
        float32 `(len(names), d)`, in the order of the names.

    Raises:
        InputError: If the file cannot be read or holds something else, or if names are missing;
            the message has all of them.

    Example:
        >>> vectors = load_word_vectors("glove.txt", ["bird", "fire hydrant"])  # doctest: +SKIP
        >>> vectors.shape  # doctest: +SKIP
        (2, 300)
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"`path={str(path)!r}` is not a file.")
    wanted = {form for name in names for form in [*_forms(name), *_parts_forms(name)]}
    read = _read_arrays if path.suffix == ".npz" else _read_text
    table = read(path, wanted)
    vectors = [_vector(name, table) for name in names]
    missing = [name for name, vector in zip(names, vectors, strict=True) if vector is None]
    if missing:
        raise InputError(
            f"`names`: {str(path)!r} has no vectors of {len(missing)} of {len(names)} names: "
            f"{', '.join(missing)}. Leave them out, or give them other names."
        )
    return np.stack([vector for vector in vectors if vector is not None]).astype(np.float32)


def _forms(name: str) -> list[str]:
    """How a name may be written, the first one preferred."""
    forms = []
    for text in (name, name.lower()):
        parts = [part for part in _JOINTS.split(text) if part]
        forms += [text, *(joint.join(parts) for joint in ("_", "-", " "))]
    return list(dict.fromkeys(forms))


def _parts(name: str) -> list[str]:
    return [part for part in _JOINTS.split(name) if part]


def _parts_forms(name: str) -> list[str]:
    return [form for part in _parts(name) for form in (part, part.lower())]


def _vector(name: str, table: dict[str, np.ndarray]) -> np.ndarray | None:
    for form in _forms(name):
        if form in table:
            return table[form]
    parts = [
        next((table[form] for form in (part, part.lower()) if form in table), None)
        for part in _parts(name)
    ]
    known = [part for part in parts if part is not None]
    return np.mean(known, axis=0) if known and len(known) == len(parts) else None


def _read_arrays(path: Path, wanted: set[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names, vectors = arrays["names"], np.asarray(arrays["vectors"], np.float32)
    except Exception as error:  # NumPy and zipfile have many kinds
        raise InputError(
            f"`path={str(path)!r}` cannot be read ({error}); it must have the arrays 'names' and "
            "'vectors'."
        ) from error
    if names.dtype.kind != "U" or vectors.ndim != 2 or names.shape != vectors.shape[:1]:
        raise InputError(
            f"`path={str(path)!r}` has 'names' of {names.dtype} {names.shape} and 'vectors' of "
            f"{vectors.shape}; they must be n strings and (n, d) numbers."
        )
    table: dict[str, np.ndarray] = {}
    for name, vector in zip(names.tolist(), vectors, strict=True):
        if name in wanted:
            _keep(table, name, vector, f"`path={str(path)!r}`")
    return table


def _read_text(path: Path, wanted: set[str]) -> dict[str, np.ndarray]:
    table: dict[str, np.ndarray] = {}
    first_words = {form.encode().split()[0] for form in wanted if form.strip()}
    width = 0
    try:
        for number, line in _lines(path):
            # Most of a million lines are of other words, and are not split further.
            first = line.split(None, 1)[:1]
            if width and (not first or first[0] not in first_words):
                continue
            fields = line.split()
            if number == 1 and len(fields) == 2 and all(field.isdigit() for field in fields):
                width = int(fields[1])
                continue
            width = width or len(fields) - 1
            if width < 1 or len(fields) <= width:
                raise ValueError(f"line {number} has {len(fields)} fields, not a word and numbers")
            # A few words of GloVe hold blanks.
            word = b" ".join(fields[:-width]).decode("utf-8", "replace")
            vector = np.array([float(value) for value in fields[-width:]], np.float32)
            if word in wanted:
                _keep(table, word, vector, f"`path={str(path)!r}`, line {number}")
    except InputError:
        raise
    except (OSError, EOFError, ValueError) as error:
        raise InputError(
            f"`path={str(path)!r}` is not a text file of word vectors ({error}); give a line of a "
            "word and its numbers for each word, or an .npz file."
        ) from error
    return table


def _keep(table: dict[str, np.ndarray], word: str, vector: np.ndarray, source: str) -> None:
    if not np.isfinite(vector).all():
        raise InputError(f"{source}: the vector of {word!r} is not finite.")
    table.setdefault(word, vector)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    opened: IO[bytes]
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as opened:  # type: ignore[assignment]
        yield from enumerate(opened, start=1)
