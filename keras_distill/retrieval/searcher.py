"""Common interface of nearest-neighbour searches."""

import functools
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from keras_distill.retrieval.direct_search import (
    centred_squares,
    common_centre,
    direct_neighbours,
    squared_differences,
)
from keras_distill.retrieval.neighbours import (
    Neighbours,
    RunningAgreement,
    nearest_first,
    without_own,
)
from keras_distill.retrieval.vector_checks import (
    UNSURE,
    checked_k,
    checked_vectors,
    squared_lengths,
)

_QUERY_BLOCK = 4096
# So few queries are compared in NumPy sooner than the gallery is copied to TensorFlow.
_FEW_QUERIES = 8


class Searcher:
    """Finds nearest rows of a gallery by Euclidean distance; made by `build_searcher`.

    Args:
        gallery: Finite vectors, float32 `(m, dim)`; may be memory-mapped.
    """

    #: Name in flags and manifests.
    backend: ClassVar[str]
    #: Whether its results have to be compared with exact search.
    approximate: ClassVar[bool] = True

    def __init__(self, gallery: np.ndarray):
        self.gallery = gallery
        self._agreement = RunningAgreement()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that it was built with, as plain values."""
        return {}

    def search(
        self,
        queries: np.ndarray,
        *,
        k: int,
        leave_one_out: bool = False,
        sample: int | None = None,
    ) -> Neighbours:
        """Finds the k nearest gallery rows of each query.

        Args:
            queries: float array `(n, dim)`.
            k: Number of neighbours; fewer are returned if the gallery has fewer.
            leave_one_out: Whether gallery row i is left out of the neighbours of query i.
            sample: Number of queries to search exactly too, to measure the agreement; 0 for none.
                By default each hundredth of all queries with the same k so far, the first
                included, at most 100 at once; the agreement is measured on all of them.

        Returns:
            The neighbours, with the contract of `nearest_neighbours`.

        Raises:
            InputError: If the queries are not finite or do not fit the gallery.
        """
        queries = checked_vectors("queries", queries)
        k = checked_k(queries, self.gallery, k, leave_one_out=leave_one_out)

        def search(rows: np.ndarray | slice, find: Any) -> tuple[np.ndarray, np.ndarray]:
            found = find(queries[rows], k=k + leave_one_out)
            return without_own(np.arange(len(queries))[rows], *found) if leave_one_out else found

        indices, distances = search(slice(None), self.nearest)
        if not self.approximate:
            return Neighbours(indices, distances)
        agreement = self._agreement.measure(
            indices, lambda rows: search(rows, ExactSearcher(self.gallery).nearest)[0], sample
        )
        return Neighbours(indices, distances, agreement)

    def nearest(self, queries: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds neighbours without measuring the agreement.

        Args:
            queries: Finite vectors, float32 `(n, dim)`.
            k: Number of neighbours, at most the gallery's rows.

        Returns:
            Indices and distances, see `Neighbours`.
        """
        indices = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k), np.float32)
        for start in range(0, len(queries), _QUERY_BLOCK):
            rows = slice(start, start + _QUERY_BLOCK)
            block = np.ascontiguousarray(queries[rows])
            where, squared = self._squared(block, k)
            scale = squared_lengths(block)[:, None] + self._squared_lengths[where]
            near = (squared < UNSURE * scale) & (where >= 0)
            query = np.nonzero(near)[0]
            squared[near] = squared_differences(block[query], self.gallery, where[near])
            indices[rows], distances[rows] = nearest_first(where, np.sqrt(squared), k)
            lacking = start + np.flatnonzero((where < 0).any(1))
            if len(lacking):
                found = ExactSearcher(self.gallery).nearest(queries[lacking], k=k)
                indices[lacking], distances[lacking] = found
        return indices, distances

    def save(self, folder: Path) -> None:
        """Writes what `load_searcher` needs in addition to the vectors to a new folder."""

    @functools.cached_property
    def _squared_lengths(self) -> np.ndarray:
        return squared_lengths(self.gallery)

    def _squared(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices, int64 `(n, k)`, -1 where too few were found, and squared distances."""
        raise NotImplementedError


class ExactSearcher(Searcher):
    """Exact search: compares each query with each row, see `nearest_neighbours`."""

    backend = "exact"
    approximate = False

    def nearest(self, queries: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See the base class."""
        if len(queries) <= _FEW_QUERIES:
            return direct_neighbours(queries, self.gallery, k=k, **self._centring)
        from keras_distill.retrieval.exact_search import nearest_neighbours  # loads TensorFlow

        return nearest_neighbours(queries, self.gallery, k=k)

    @functools.cached_property
    def _centring(self) -> dict[str, Any]:
        centre = common_centre(self.gallery)
        return {"centre": centre, "squares": centred_squares(self.gallery, centre)}
