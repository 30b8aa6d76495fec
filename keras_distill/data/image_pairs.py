"""Files of pairs of images, and of templates, which are sets of images of one subject."""

import csv
import itertools
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_distill.data.row_problems import RowProblems
from keras_distill.errors import InputError

_SAME = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True, eq=False)
class ImagePairs:
    """Pairs of images, or of templates.

    Attributes:
        names: Name of each image or template that is in a pair, each once.
        left: Index in `names` of the first of each pair, int64 `(n,)`.
        right: Index of the second.
        same: Whether both show the same, bool `(n,)`.
        folds: Number of the part that each pair belongs to, int64 `(n,)`; `None` if the file does
            not tell.
    """

    names: tuple[str, ...]
    left: np.ndarray
    right: np.ndarray
    same: np.ndarray
    folds: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.same)

    def select(self, chosen: np.ndarray) -> "ImagePairs":
        """Returns the pairs that a boolean mask chooses."""
        folds = None if self.folds is None else self.folds[chosen]
        return ImagePairs(
            self.names, self.left[chosen], self.right[chosen], self.same[chosen], folds
        )


@dataclass(frozen=True, eq=False)
class ImageTemplates:
    """Templates: sets of images of one subject, some of which come from one medium.

    Attributes:
        files: File of each image, `(n,)`.
        names: Name of each template.
        template: Index in `names` of the template of each image, int64 `(n,)`.
        media: Number of the medium of each image, int64 `(n,)`; the frames of a video have one.
        subjects: Name of the subject of each template; the name of the template if unknown.
    """

    files: tuple[str, ...]
    names: tuple[str, ...]
    template: np.ndarray
    media: np.ndarray
    subjects: tuple[str, ...]


def read_pairs(path: str | Path) -> ImagePairs:
    """Reads pairs.

    Args:
        path: CSV file with `file,file,same` in each row and maybe `fold`, with or without a header;
            `same` is 1 or 0. Without commas, spaces separate, as in the files of IJB-C.

    Returns:
        The pairs, in the order of the file.

    Raises:
        InputError: If the file cannot be read, or rows are malformed; it lists them.
    """
    index: dict[str, int] = {}
    problems = RowProblems()
    # Lists of Python's numbers would take ten times the memory: IJB-C has 16 million pairs.
    sides, told, folds = array("q"), array("b"), array("q")
    for line, row in _rows(path, lambda row: row[2:3] and row[2].lower() == "same"):
        same = _SAME.get(row[2].lower()) if len(row) in (3, 4) else None
        if same is None or not (row[0] and row[1]):
            problems.add(path, line, f"{','.join(row)!r} is not file,file,1 or file,file,0")
        elif len(row) == 4 and not row[3].lstrip("-").isdigit():
            problems.add(path, line, f"the fold {row[3]!r} is not a number")
        else:
            for name in row[:2]:
                sides.append(index.setdefault(name, len(index)))
            told.append(same)
            folds.extend(map(int, row[3:]))
    problems.check(f"`pairs={path}`")
    if not told:
        raise InputError(f"`pairs={path}` has no pairs; give file,file,same in each row.")
    left, right = np.frombuffer(sides, np.int64).reshape(-1, 2).T
    known = None
    if len(folds) == len(told):
        known = np.unique(np.frombuffer(folds, np.int64), return_inverse=True)[1].astype(np.int64)
    return ImagePairs(tuple(index), left, right, np.frombuffer(told, np.bool_), known)


def read_templates(path: str | Path) -> ImageTemplates:
    """Reads templates.

    Args:
        path: CSV file with `file,template,media` in each row and maybe `subject`, with or without a
            header. Without commas, spaces separate, as in the files of IJB-C.

    Returns:
        The templates, in the order of the file.

    Raises:
        InputError: If the file cannot be read, or rows are malformed; it lists them.
    """
    problems = RowProblems()
    rows: list[list[str]] = []
    subjects: dict[str, str] = {}
    for line, row in _rows(path, lambda row: [each.lower() for each in row[1:2]] == ["template"]):
        if len(row) not in (3, 4) or not all(row):
            problems.add(path, line, f"{','.join(row)!r} is not file,template,media")
            continue
        subject = row[3] if len(row) == 4 else row[1]
        if subjects.setdefault(row[1], subject) != subject:
            told = f"template {row[1]!r} is of {subjects[row[1]]!r} and of {subject!r}"
            problems.add(path, line, told)
        rows.append(row)
    problems.check(f"`templates={path}`")
    if not rows:
        raise InputError(f"`templates={path}` is empty; give file,template,media in each row.")
    place = {name: number for number, name in enumerate(subjects)}
    media: dict[tuple[str, str], int] = {}
    return ImageTemplates(
        tuple(row[0] for row in rows),
        tuple(subjects),
        np.array([place[row[1]] for row in rows], np.int64),
        np.array([media.setdefault((row[1], row[2]), len(media)) for row in rows], np.int64),
        tuple(subjects.values()),
    )


def _rows(
    path: str | Path, is_header: Callable[[Sequence[str]], object]
) -> Iterator[tuple[int, list[str]]]:
    """The rows with their numbers, without a header and empty lines."""
    try:
        with Path(path).expanduser().open(encoding="utf-8-sig", newline="") as file:
            begin = file.readline()
            lines = itertools.chain([begin], file)
            rows = csv.reader(lines) if "," in begin else map(str.split, lines)
            cells = ((number, [cell.strip() for cell in row]) for number, row in enumerate(rows, 1))
            found = ((number, row) for number, row in cells if row)
            first = next(found, None)
            if first and not is_header(first[1]):
                yield first
            yield from found
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}.") from error
