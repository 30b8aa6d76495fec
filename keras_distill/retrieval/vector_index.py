"""An index on disk: vectors, what they show, and how they are searched."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from keras_distill.data.image_set import paths_from
from keras_distill.errors import InputError
from keras_distill.retrieval.backends import load_searcher
from keras_distill.retrieval.index_parts import IndexPart, check_files, read_manifest
from keras_distill.retrieval.neighbours import (
    Neighbours,
    agreement_of,
    nearest_first,
    sample_rows,
)
from keras_distill.retrieval.searcher import ExactSearcher, Searcher
from keras_distill.retrieval.vector_checks import checked_vectors

# Rows that may be added to an index, or deleted from it, before it has to be rebuilt: what is
# added is compared row by row, and what is deleted is still found and then dropped.
LEAST_LOOSE_ROWS = 1_000
LOOSE_SHARE = 0.1


class VectorIndex:
    """Vectors of images on disk, and their search; made by `build_index`, opened by `open_index`.

    The vectors are memory-mapped. A row number counts through all parts, deleted rows included, so
    that it stays what it is until the index is rebuilt. What is added or deleted while the index is
    open shows when it is opened again.

    Args:
        folder: The index.
        manifest: Its manifest.

    Raises:
        InputError: If a file is missing, truncated or of another width.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]):
        self.folder = folder
        self.manifest = manifest
        check_files(folder, manifest)
        self.backend: str = manifest["backend"]
        self.dim: int = manifest["dim"]
        self.root = Path(manifest["root"])
        self.class_names = tuple(manifest["class_names"])
        self._parts = [
            IndexPart(folder / part["name"], part["rows"], self.dim) for part in manifest["parts"]
        ]
        sizes = [len(part.labels) for part in self._parts]
        self._starts = np.cumsum([0, *sizes])
        self.deleted = np.zeros(0, np.int64)
        if manifest["deleted"] is not None:
            self.deleted = np.load(folder / manifest["deleted"])
        if len(self) != manifest["rows"]:
            raise InputError(
                f"the index is damaged: {str(folder)!r} holds {len(self)} images in place of "
                f"{manifest['rows']}. Build it anew, with --overwrite."
            )

    def __len__(self) -> int:
        return int(self._starts[-1]) - len(self.deleted)

    @property
    def loose(self) -> int:
        """Rows added or deleted since it was built."""
        return int(self._starts[-1] - self._starts[1]) + len(self.deleted)

    @property
    def most_loose(self) -> int:
        """Rows that may be added or deleted before it has to be rebuilt: a tenth, or 1,000."""
        return max(LEAST_LOOSE_ROWS, int(LOOSE_SHARE * self._starts[1]))

    @property
    def rows(self) -> np.ndarray:
        """The numbers of the rows that are not deleted, int64, ascending."""
        return np.setdiff1d(np.arange(self._starts[-1]), self.deleted, assume_unique=True)

    def paths(self, rows: np.ndarray) -> list[str]:
        """Returns the relative paths of rows."""
        return [name.decode() for name in self._column("ids", rows)]

    def labels(self, rows: np.ndarray) -> np.ndarray:
        """Returns the classes of rows as indices into `class_names`, int64; -1 for none."""
        return np.array(self._column("labels", rows), np.int64)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Returns the vectors of rows, float32 `(n, dim)`."""
        return self._column("vectors", rows)

    def named(self, paths: np.ndarray, root: Path) -> np.ndarray:
        """Returns what images would be called here: by their way from `self.root`.

        Args:
            paths: Paths relative to `root`.
            root: Folder of the images.

        Returns:
            The same paths if `root` is the index's own, such as `../more/a/1.jpg` otherwise.
        """
        return paths_from(self.root, root, paths)

    def lacks(self, paths: np.ndarray) -> np.ndarray:
        """Tells which images are not there, by what they would be called; bool `(n,)`."""
        return ~np.isin(paths, np.array(self.paths(self.rows), np.str_))

    def check_loose(self, more: int) -> None:
        """Asks for a rebuild if that many rows more could not be added or deleted before one.

        Args:
            more: Rows to be added or deleted.

        Raises:
            InputError: If more than `most_loose` would be.
        """
        if self.loose + more > self.most_loose:
            raise InputError(
                f"{str(self.folder)!r} would hold {self.loose + more} images added or deleted "
                f"since it was built, more than {self.most_loose}; ask for a rebuild with it "
                "(--rebuild), which embeds nothing again."
            )

    def check_embedder(self, fingerprint: str | None, *, argument: str = "model") -> None:
        """Refuses vectors of another model than the one whose vectors are here.

        Args:
            fingerprint: What `build_index` was given as `embedder`.
            argument: Name of the argument that an error message should name.

        Raises:
            InputError: If it differs.
        """
        made_by = self.manifest["embedder"]
        if fingerprint != made_by:
            raise InputError(
                f"{argument} is not the one that {str(self.folder)!r} was made with (fingerprint "
                f"{fingerprint}, not {made_by}); distances between their vectors may mean nothing. "
                f"Give {self.manifest.get('model') or 'that model'}, or build another index; where "
                "one learnt to embed like the other, --other_model trusts it."
            )

    def search(
        self, queries: np.ndarray, *, k: int, embedder: str | None = None, sample: int = 100
    ) -> Neighbours:
        """Finds the k nearest images of each query.

        Args:
            queries: float array `(n, dim)`.
            k: Number of neighbours; fewer are returned if the index has fewer images.
            embedder: Fingerprint of the model that embedded the queries; `None` if known to fit.
            sample: Queries that are searched exactly too, to measure the agreement; 0 for none.

        Returns:
            Row numbers and distances; ties and order as of `nearest_neighbours`.

        Raises:
            InputError: If the queries are of no use, of another width or another model's.
        """
        if embedder is not None:
            self.check_embedder(embedder)
        queries = checked_vectors("queries", queries)
        if queries.shape[1] != self.dim:
            raise InputError(
                f"queries have width {queries.shape[1]}, the index {str(self.folder)!r} "
                f"{self.dim}; both must come from the same embedding space."
            )
        if k < 1 or not len(queries) or not len(self):
            raise InputError(
                f"there is nothing to search: k={k}, {len(queries)} queries, {len(self)} images."
            )
        indices, distances = self._nearest(self.searcher, queries, k)
        chosen = sample_rows(len(queries), sample if self.searcher.approximate else 0)
        if not len(chosen):
            return Neighbours(indices, distances)
        exact, _ = self._nearest(ExactSearcher(self._parts[0].vectors), queries[chosen], k)
        return Neighbours(indices, distances, agreement_of(indices[chosen], exact))

    @functools.cached_property
    def searcher(self) -> Searcher:
        """What searches the images that were there when it was built."""
        folder = self._parts[0].folder / self.backend
        vectors, settings = self._parts[0].vectors, self.manifest["settings"]
        try:
            return load_searcher(self.backend, vectors, settings, folder)
        except (OSError, RuntimeError, TypeError) as error:
            raise InputError(
                f"the index is damaged: {str(folder)!r} cannot be loaded ({error}). Build it anew, "
                "with --overwrite."
            ) from error

    def _nearest(
        self, searcher: Searcher, queries: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        k = min(k, len(self))
        indices, distances = _nearest_living(searcher, queries, k, self.deleted)
        side = self.rows
        side = side[side >= self._starts[1]]
        if len(side):
            where, more = ExactSearcher(self.vectors(side)).nearest(queries, k=min(k, len(side)))
            indices = np.concatenate([indices, side[where]], axis=1)
            distances = np.concatenate([distances, more], axis=1)
        return nearest_first(indices, distances, k)

    def _column(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Values of a column at some rows, in their order."""
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
        InputError: If there is none, or it is damaged.

    Example:
        >>> index = open_index("photos.index")  # doctest: +SKIP
        >>> index.paths(index.search(vectors, k=10).indices[0])  # doctest: +SKIP
    """
    folder = Path(folder)
    while True:
        manifest = read_manifest(folder)
        try:
            return VectorIndex(folder, manifest)
        except InputError:
            if read_manifest(folder) == manifest:
                raise  # otherwise another process has changed it meanwhile


def _nearest_living(
    searcher: Searcher, queries: np.ndarray, k: int, dead: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of a searcher that are not dead, or all of them if they are fewer."""
    total = len(searcher.gallery)
    dead = dead[dead < total]
    k = min(k, total - len(dead))
    if not k:
        return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
    fetched = k if not len(dead) else min(2 * k, k + len(dead))
    while True:
        indices, distances = searcher.nearest(queries, k=fetched)
        living = ~np.isin(indices, dead)
        if (living.sum(1) >= k).all():
            break
        fetched = min(2 * fetched, k + len(dead))  # among so many, k are alive
    order = np.argsort(~living, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(indices, order, 1), np.take_along_axis(distances, order, 1)
