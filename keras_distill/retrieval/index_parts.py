"""Parts of an index: rows that are written together and never change."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_distill.publishing import published_folder
from keras_distill.retrieval.index_manifest import damage, sync, unreadable


@dataclass(frozen=True, eq=False)
class IndexEntries:
    """Entries of an index, one row for each image, or a fixed number of rows.

    Attributes:
        vectors: float array `(n, dim)`.
        paths: Paths of the images relative to `root`, with forward slashes, `(n,)`; they identify
            the images. Several rows of an image are next to each other.
        labels: Index of each image's class in `class_names`, integers `(n,)`; -1 for none.
        class_names: Names of the classes.
        root: Folder of the images.
        rows_per_image: Rows that each image has.
    """

    vectors: np.ndarray
    paths: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    root: Path
    rows_per_image: int = 1


class IndexPart:
    """Rows that were written together.

    Args:
        folder: The part's folder.
        rows: Rows that it must have.
        dim: Width that its vectors must have.
        mapped: Size in bytes from which on a file is memory-mapped, which takes a descriptor,
            instead of read.

    Raises:
        InputError: If a file is damaged.
    """

    def __init__(self, folder: Path, rows: int, dim: int, *, mapped: float = 0):
        self.folder = folder
        self.vectors = _array(folder / "vectors.npy", (rows, dim), np.float32, mapped)
        self.labels = _array(folder / "labels.npy", (rows,), np.int64, mapped)
        self.ids = _array(folder / "ids.npy", (rows,), np.bytes_, mapped)


def read_deleted(path: Path) -> np.ndarray:
    """Reads the numbers of the rows that were deleted.

    Args:
        path: The file.

    Returns:
        The numbers, int64, ascending.

    Raises:
        InputError: If it is damaged.
    """
    return _array(path, None, np.int64, math.inf)


def unmerged_parts(rows: Sequence[int], more: int, *, first: int) -> int:
    """Counts the parts that stay as they are when rows are added; the later ones are merged.

    A part stays if it has at least twice as many rows as all later parts together. So the number of
    parts, and how often a row is written again, grows with the logarithm of the rows, and adding
    pictures one by one stays cheap.

    Args:
        rows: Rows of each part.
        more: Rows that are added.
        first: Number of parts that stay in any case.

    Returns:
        The number of parts that stay.

    Example:
        >>> unmerged_parts([1000, 8, 4, 1], 1, first=1)
        3
        >>> unmerged_parts([1000, 8, 4, 2, 1], 1, first=1)
        1
    """
    count = len(rows)
    while count > first and rows[count - 1] < 2 * more:
        count -= 1
        more += rows[count]
    return count


def write_part(folder: Path, entries: IndexEntries, searcher: Any = None) -> None:
    """Writes a part of an index; it appears complete or not at all.

    Args:
        folder: The part's folder, which must not exist.
        entries: Its rows.
        searcher: The `Searcher` of these vectors, whose assets are written too.

    Raises:
        InputError: If the disk is full.
    """
    with published_folder(folder, keep_existing=False) as temporary:
        np.save(temporary / "vectors.npy", np.ascontiguousarray(entries.vectors, np.float32))
        np.save(temporary / "labels.npy", np.asarray(entries.labels, np.int64))
        np.save(temporary / "ids.npy", np.char.encode(entries.paths, "utf-8"))
        if searcher is not None:
            try:
                searcher.save(temporary / searcher.backend)
            except RuntimeError as error:  # how ScaNN says that the disk is full
                raise OSError(str(error)) from error
        for file in temporary.rglob("*"):
            sync(file)


def _array(path: Path, shape: tuple[int, ...] | None, dtype: Any, mapped: float) -> np.ndarray:
    try:
        mode: Any = "r" if path.stat().st_size >= mapped else None
        array = np.load(path, mmap_mode=mode, allow_pickle=False)
    except Exception as error:  # NumPy has many kinds
        raise unreadable(path, error) from error
    if shape is None:
        shape = (array.size,)
    if array.shape != shape or not np.issubdtype(array.dtype, dtype):
        raise damage(path, f"holds {array.dtype} {array.shape} in place of {shape}")
    return array
