"""Index of image vectors on disk, and its search."""

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np

from keras_distill.data.image_set import paths_from
from keras_distill.errors import InputError
from keras_distill.retrieval.backends import choose_backend, load_searcher
from keras_distill.retrieval.index_manifest import (
    check_files,
    consistently,
    read_manifest,
    unreadable,
)
from keras_distill.retrieval.index_parts import IndexPart, read_deleted
from keras_distill.retrieval.neighbours import Neighbours, RunningAgreement, nearest_first
from keras_distill.retrieval.searcher import ExactSearcher, Searcher
from keras_distill.retrieval.vector_checks import checked_vectors

# Rows that may be added to an index, or deleted from it, before it has to be rebuilt: added rows
# are compared one by one, and deleted rows are still found and then dropped.
LEAST_LOOSE_ROWS = 1_000
LOOSE_SHARE = 0.1
# Added rows lie in parts, each with at least twice the rows of all later ones. A memory-mapped file
# takes a descriptor as long as the index is open, so only large files of the first few parts are
# mapped: indexes that older versions have added to can have many parts.
_MAPPED_BYTES, _MAPPED_PARTS = 2**20, 8
_ROWS_AT_ONCE = 2**16


class VectorIndex:
    """Vectors of images on disk, and their search; built by `build_index`, opened by `open_index`.

    The vectors are memory-mapped. Row numbers count through all parts, deleted rows included,
    so they stay the same until the index is rebuilt. Changes that are made while the index is open
    become visible when it is opened again; the first search opens it again by itself if the files
    that it needs are gone because another process has rebuilt the index.

    Args:
        folder: The index.
        manifest: Its manifest.

    Raises:
        InputError: If a file is missing, truncated or of another width.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]):
        self.folder = folder
        self._open(manifest)

    def _open(self, manifest: dict[str, Any]) -> None:
        folder = self.folder
        check_files(folder, manifest)
        dim = manifest["dim"]
        parts = [
            IndexPart(folder / part["name"], part["rows"], dim, mapped=_mapped_from(number))
            for number, part in enumerate(manifest["parts"])
        ]
        deleted = np.zeros(0, np.int64)
        if manifest["deleted"] is not None:
            deleted = read_deleted(folder / manifest["deleted"])
        starts = np.cumsum([0, *(len(part.labels) for part in parts)])
        if starts[-1] - len(deleted) != manifest["rows"]:
            raise InputError(
                f"the index is damaged: {str(folder)!r} holds {starts[-1] - len(deleted)} images "
                f"in place of {manifest['rows']}. Build it again with `overwrite=True`."
            )
        for name in ("searcher", "_dead", "_side"):  # of the state before
            self.__dict__.pop(name, None)
        self.manifest = manifest
        self.backend: str = manifest["backend"]
        self.dim: int = manifest["dim"]
        self.root = Path(manifest["root"])
        self.class_names = tuple(manifest["class_names"])
        self.deleted = deleted
        self._parts = parts
        self._starts = starts
        self._agreement = RunningAgreement()

    def __len__(self) -> int:
        return self.total - len(self.deleted)

    @property
    def total(self) -> int:
        """Number of all rows, deleted ones included."""
        return int(self._starts[-1])

    @property
    def compares_all(self) -> bool:
        """Whether the search is exact and a rebuild would not change that.

        Then added rows are searched like all others.
        """
        wanted = self.manifest["asked_backend"]
        if wanted == "auto":
            wanted = choose_backend(self.total)
        return self.backend == wanted == "exact"

    @property
    def loose(self) -> int:
        """Rows added or deleted since it was built, which a rebuild would work in.

        Rows that were added to an index that compares all do not count.
        """
        return self.total - self._built + len(self.deleted)

    @property
    def most_loose(self) -> int:
        """Rows that may be added or deleted before a rebuild: a tenth, at least 1,000."""
        return max(LEAST_LOOSE_ROWS, int(LOOSE_SHARE * self._built))

    @property
    def _built(self) -> int:
        return self.total if self.compares_all else int(self._starts[1])

    @property
    def rows(self) -> np.ndarray:
        """The numbers of the rows that are not deleted, int64, ascending."""
        living = np.ones(self.total, bool)
        living[self.deleted] = False
        return np.flatnonzero(living)

    def paths(self, rows: np.ndarray) -> list[str]:
        """Returns the relative paths of rows."""
        return [name.decode() for name in self._column("ids", rows)]

    def labels(self, rows: np.ndarray) -> np.ndarray:
        """Returns the classes of rows as indices into `class_names`, int64; -1 for none."""
        return np.array(self._column("labels", rows), np.int64)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Returns the vectors of rows, float32 `(n, dim)`."""
        return self._column("vectors", rows)

    def products(self, queries: np.ndarray) -> np.ndarray:
        """Computes the inner product of each row, deleted ones included, with each query.

        Args:
            queries: float array `(n, dim)`.

        Returns:
            float32 `(total, n)`.
        """
        queries = np.asarray(queries, np.float32)
        found = np.empty((self.total, len(queries)), np.float32)
        for start, part in zip(self._starts, self._parts, strict=False):
            for row in range(0, len(part.vectors), _ROWS_AT_ONCE):
                block = part.vectors[row : row + _ROWS_AT_ONCE]
                found[start + row : start + row + len(block)] = block @ queries.T
        return found

    def named(self, paths: np.ndarray, root: Path) -> np.ndarray:
        """Returns the paths that images would have here, relative to `self.root`.

        Args:
            paths: Paths relative to `root`.
            root: Folder of the images.

        Returns:
            The same paths if `root` is the index's own, such as `../more/a/1.jpg` otherwise.
        """
        return paths_from(self.root, root, paths)

    def lacks(self, paths: np.ndarray) -> np.ndarray:
        """Tells which images the index lacks, by their paths here (see `named`); bool `(n,)`."""
        wanted = np.char.encode(np.asarray(paths, np.str_), "utf-8", "surrogatepass")
        there = self._column("ids", self.rows)
        return ~np.isin(wanted, there[np.isin(there, wanted)])  # quick for a few of many

    def check_loose(self, *, added: int = 0, deleted: int = 0) -> None:
        """Refuses rows that cannot be added or deleted without a rebuild.

        Args:
            added: Rows to be added.
            deleted: Rows to be deleted.

        Raises:
            InputError: If more than `most_loose` would be.
        """
        more = deleted + (0 if self.compares_all else added)
        if more and self.loose + more > self.most_loose:
            raise InputError(
                f"{str(self.folder)!r} would hold {self.loose + more} images added or deleted "
                f"since it was built, more than {self.most_loose}; add `rebuild=True`, which "
                "embeds nothing again."
            )

    def check_embedder(self, fingerprint: str | None) -> None:
        """Refuses vectors of another model than the model of the index.

        Args:
            fingerprint: Fingerprint of the other model, see `Teacher.fingerprint`.

        Raises:
            InputError: If it differs.
        """
        made_by = self.manifest["embedder"]
        if fingerprint != made_by:
            raise InputError(
                f"the model is not the one that {str(self.folder)!r} was built with (fingerprint "
                f"{fingerprint}, not {made_by}); distances between their vectors may mean nothing. "
                f"Give {self.manifest.get('model') or 'that model'}, or build another index."
            )

    def search(
        self, queries: np.ndarray, *, k: int, embedder: str | None = None, sample: int | None = None
    ) -> Neighbours:
        """Finds the k nearest images of each query.

        Args:
            queries: float array `(n, dim)`.
            k: Number of neighbours; fewer are returned if the index has fewer images.
            embedder: Fingerprint of the model that embedded the queries; `None` if known to fit.
            sample: Number of queries to search exactly too, see `Searcher.search`.

        Returns:
            Row numbers and distances; ties and order as in `nearest_neighbours`.

        Raises:
            InputError: If the queries cannot be searched, or come from another model or space.
        """
        queries = checked_vectors("queries", queries)
        if k < 1:
            raise InputError(f"`k={k}` must be at least 1.")
        if not len(queries) or not len(self):
            raise InputError(
                f"there is nothing to search: {len(queries)} queries, {len(self)} images."
            )
        searcher = self.searcher  # which may open the index again
        if embedder is not None:
            self.check_embedder(embedder)
        if queries.shape[1] != self.dim:
            raise InputError(
                f"`queries` has width {queries.shape[1]}, the index {str(self.folder)!r} "
                f"{self.dim}; both must come from the same embedding space."
            )
        indices, distances = self._nearest(searcher, queries, k)
        if not searcher.approximate:
            return Neighbours(indices, distances)

        def exact(rows: np.ndarray) -> np.ndarray:
            return self._nearest(ExactSearcher(searcher.gallery), queries[rows], k)[0]

        return Neighbours(indices, distances, self._agreement.measure(indices, exact, sample))

    @functools.cached_property
    def searcher(self) -> Searcher:
        """The searcher of the images that were there when the index was built."""
        while True:
            assets = self._parts[0].folder / self.backend
            vectors, settings = self._parts[0].vectors, self.manifest["settings"]
            try:
                return load_searcher(self.backend, vectors, settings, assets)
            except (OSError, RuntimeError, TypeError, ValueError) as error:
                if isinstance(error, InputError):
                    raise
                if read_manifest(self.folder) == self.manifest:
                    raise unreadable(assets, error, "cannot be loaded") from error
            consistently(self.folder, self._open)  # another process has rebuilt it

    def _nearest(
        self, searcher: Searcher, queries: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        k = min(k, len(self))
        indices, distances = _nearest_living(searcher, queries, k, self._dead)
        side, side_searcher = self._side
        if len(side):
            where, more = side_searcher.nearest(queries, k=min(k, len(side)))
            indices = np.concatenate([indices, side[where]], axis=1)
            distances = np.concatenate([distances, more], axis=1)
        return nearest_first(indices, distances, k)

    @functools.cached_property
    def _dead(self) -> np.ndarray:
        """Which rows of the first part are deleted, bool `(n,)`."""
        dead = np.zeros(self._starts[1], bool)
        dead[self.deleted[self.deleted < len(dead)]] = True
        return dead

    @functools.cached_property
    def _side(self) -> tuple[np.ndarray, Searcher]:
        """The rows that the searcher lacks, and a searcher of these."""
        rows = self.rows
        rows = rows[rows >= self._starts[1]]
        return rows, ExactSearcher(self.vectors(rows))

    def _column(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Values of a column at the given rows, in their order."""
        rows = np.asarray(rows, np.int64)
        parts = np.searchsorted(self._starts, rows, side="right") - 1
        columns = [getattr(part, name) for part in self._parts]
        out = np.empty((len(rows), *columns[0].shape[1:]), np.result_type(*columns))
        for number, column in enumerate(columns):
            here = parts == number
            out[here] = column[rows[here] - self._starts[number]]
        return out


def open_index(folder: str | Path) -> VectorIndex:
    """Opens an index by memory map.

    Args:
        folder: The index; it may have been moved or copied.

    Returns:
        The index.

    Raises:
        InputError: If there is no index, or it is damaged.

    Example:
        >>> index = open_index("photos.index")  # doctest: +SKIP
        >>> index.paths(index.search(vectors, k=10).indices[0])  # doctest: +SKIP
    """
    folder = Path(folder)
    return consistently(folder, lambda manifest: VectorIndex(folder, manifest))


def _mapped_from(part: int) -> float:
    """Size in bytes from which on the files of a part are memory-mapped."""
    if part >= _MAPPED_PARTS:
        return math.inf
    return _MAPPED_BYTES if part else 0


def _nearest_living(
    searcher: Searcher, queries: np.ndarray, k: int, dead: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of a searcher that are not dead; all of them if there are fewer."""
    count = int(dead.sum())
    k = min(k, len(dead) - count)
    if not k:
        return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
    if not count:
        return searcher.nearest(queries, k=k)
    fetched = min(2 * k, k + count)
    while True:
        indices, distances = searcher.nearest(queries, k=fetched)
        living = ~dead[indices]
        if (living.sum(1) >= k).all():
            break
        fetched = min(2 * fetched, k + count)  # among so many, k are alive
    order = np.argsort(~living, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(indices, order, 1), np.take_along_axis(distances, order, 1)
