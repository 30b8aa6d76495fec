"""Pairs of images that somebody compared."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_distill.data.image_set import ImageSet, image_id
from keras_distill.data.label_csv import raw_csv_rows
from keras_distill.data.listed_images import ListedImages
from keras_distill.data.row_problems import RowProblems
from keras_distill.errors import InputError

_LABELS = {"1": 1.0, "0": 0.0, "0.5": 0.5, "1.0": 1.0, "0.0": 0.0}


@dataclass(frozen=True, eq=False)
class ComparisonPairs:
    """Pairs of images below one folder.

    Attributes:
        root: The folder.
        paths: Paths of the two images relative to `root`, `(n, 2)`.
        labels: 1 where the first is better, 0 where the second is, 0.5 where neither is, float32
            `(n,)`.
    """

    root: Path
    paths: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def images(self) -> ImageSet:
        """All images of the pairs, each once, sorted by path."""
        paths = np.unique(self.paths)
        return ImageSet(self.root, paths, np.full(len(paths), -1, np.int64), ())

    @property
    def ordered(self) -> np.ndarray:
        """The paths of the pairs that are decided, the better image first, `(m, 2)`."""
        decided = self.labels != 0.5
        paths, labels = self.paths[decided], self.labels[decided]
        return np.where(labels[:, None] == 1, paths, paths[:, ::-1])

    @property
    def ids(self) -> np.ndarray:
        """A number for each decided pair, int64 `(m,)`."""
        return np.array([image_id("\n".join(pair)) for pair in self.ordered], np.int64)


def read_comparisons(file: str | Path, root: str | Path | None = None) -> ComparisonPairs:
    """Reads a CSV file of compared images, `file,file,label`.

    Args:
        file: The file: two names of images in a row, and 1 where the first is better, 0 where the
            second is, or 0.5 where neither is. A first line `file,file,label` is passed over.
        root: Folder that the names are relative to; by default the one of the file.

    Returns:
        The pairs, in the order of the file.

    Raises:
        InputError: If the file cannot be read, or rows of it are unusable, which are named.

    Example:
        >>> len(read_comparisons("photos/pairs.csv"))  # doctest: +SKIP
        200
    """
    file = Path(file).expanduser()
    listed, problems = ListedImages(file.parent if root is None else root), RowProblems()
    paths, labels = [], []
    for place, (line, row) in enumerate(raw_csv_rows(file)):
        if place == 0 and row[-1].strip().lower() == "label":
            continue
        if len(row) != 3:
            problems.add(file, line, f"it has {len(row)} fields instead of 3, file,file,label")
            continue
        pair = [listed.find(name.strip()) for name in row[:2]]
        problem = next((problem for _, problem in pair if problem), "")
        if row[2].strip() not in _LABELS:
            problem = problem or f"the label {row[2]!r} is none of 1, 0 and 0.5"
        elif pair[0][0] == pair[1][0] and not problem:
            problem = f"{pair[0][0]!r} is compared with itself"
        if problem:
            problems.add(file, line, problem)
            continue
        paths.append([path for path, _ in pair])
        labels.append(_LABELS[row[2].strip()])
    problems.check(f"`comparisons={str(file)!r}`")
    if not paths:
        raise InputError(f"`comparisons={str(file)!r}` has no rows; give file,file,label.")
    return ComparisonPairs(listed.root, np.array(paths), np.array(labels, np.float32))
