"""One interface to nearest neighbours, however they are found."""

import functools
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from keras_distill.retrieval.neighbours import (
    Neighbours,
    agreement_of,
    nearest_first,
    sample_rows,
    without_own,
)
from keras_distill.retrieval.vector_checks import (
    checked_k,
    checked_vectors,
    distances_from_squares,
    squared_lengths,
)

_QUERY_BLOCK = 4096


class Searcher:
    """Finds nearest rows of a gallery by Euclidean distance; made by `build_searcher`.

    Args:
        gallery: Finite vectors, float32 `(m, dim)`; may be memory-mapped.
    """

    #: Its name in flags and manifests.
    backend: ClassVar[str]
    #: Whether its answers have to be compared with exact search.
    approximate: ClassVar[bool] = True

    def __init__(self, gallery: np.ndarray):
        self.gallery = gallery

    @property
    def settings(self) -> dict[str, Any]:
        """What it was built with, as plain values."""
        return {}

    def search(
        self, queries: np.ndarray, *, k: int, leave_one_out: bool = False, sample: int = 100
    ) -> Neighbours:
        """Finds the k nearest gallery rows of each query.

        Args:
            queries: float array `(n, dim)`.
            k: Number of neighbours; fewer are returned if the gallery has fewer.
            leave_one_out: Whether gallery row i is left out of the neighbours of query i.
            sample: Queries that are searched exactly too, to measure the agreement; 0 for none.

        Returns:
            The neighbours, with the contract of `nearest_neighbours`.

        Raises:
            InputError: If the queries are not finite or do not fit the gallery.
        """
        queries = checked_vectors("queries", queries)
        k = checked_k(queries, self.gallery, k, leave_one_out=leave_one_out)
        chosen = sample_rows(len(queries), sample if self.approximate else 0)

        def search(rows: np.ndarray | slice, find: Any) -> tuple[np.ndarray, np.ndarray]:
            found = find(queries[rows], k=k + leave_one_out)
            return without_own(np.arange(len(queries))[rows], *found) if leave_one_out else found

        indices, distances = search(slice(None), self.nearest)
        if not len(chosen):
            return Neighbours(indices, distances)
        exact, _ = search(chosen, ExactSearcher(self.gallery).nearest)
        return Neighbours(indices, distances, agreement_of(indices[chosen], exact))

    def nearest(self, queries: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds neighbours without looking at the agreement.

        Args:
            queries: Finite vectors, float32 `(n, dim)`.
            k: Number of neighbours, at most the gallery's rows.

        Returns:
            Indices and distances, as of `Neighbours`.
        """
        indices = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k), np.float32)
        for start in range(0, len(queries), _QUERY_BLOCK):
            rows = slice(start, start + _QUERY_BLOCK)
            block = np.ascontiguousarray(queries[rows])
            where, squared = self._squared(block, k)
            scale = squared_lengths(block)[:, None] + self._squared_lengths[where]
            found = nearest_first(where, distances_from_squares(squared, scale), k)
            indices[rows], distances[rows] = found
            lacking = start + np.flatnonzero((where < 0).any(1))
            if len(lacking):
                found = ExactSearcher(self.gallery).nearest(queries[lacking], k=k)
                indices[lacking], distances[lacking] = found
        return indices, distances

    def save(self, folder: Path) -> None:
        """Writes what `load_searcher` needs beside the vectors, into a new folder, if anything."""

    @functools.cached_property
    def _squared_lengths(self) -> np.ndarray:
        return squared_lengths(self.gallery)

    def _squared(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices, int64 `(n, k)`, -1 where too few were found, and squared distances."""
        raise NotImplementedError


class ExactSearcher(Searcher):
    """Compares each query with each row, see `nearest_neighbours`."""

    backend = "exact"
    approximate = False

    def nearest(self, queries: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See the base class."""
        from keras_distill.retrieval.exact_search import nearest_neighbours  # loads TensorFlow

        return nearest_neighbours(queries, self.gallery, k=k)
