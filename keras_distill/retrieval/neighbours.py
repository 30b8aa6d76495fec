"""Nearest neighbours, and their agreement with exact search."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# A query that is searched exactly too costs as much as dozens of others.
_SAMPLED, _MOST_SAMPLED = 100, 100


@dataclass(frozen=True)
class Agreement:
    """Share of the exact nearest neighbours that a search has found.

    Attributes:
        share: Share of the exact k nearest rows that are among the k found; of several rows at the
            same distance, exact search takes the lower index.
        queries: Number of sampled queries that were searched exactly too.
        k: Neighbours of each query.
    """

    share: float
    queries: int
    k: int


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest rows of each query.

    Attributes:
        indices: int64 `(n, k)`, nearest first; of rows at the same distance, the lower first.
        distances: Euclidean distances, float32 `(n, k)`.
        agreement: Agreement with exact search on a sample; `None` if the search itself was exact,
            or no sample was wanted.
    """

    indices: np.ndarray
    distances: np.ndarray
    agreement: Agreement | None = None


def sample_rows(rows: int, size: int) -> np.ndarray:
    """Returns up to `size` evenly spaced row numbers below `rows`, int64, ascending."""
    return np.unique(np.linspace(0, rows - 1, min(rows, size)).astype(np.int64))


def agreement_of(found: np.ndarray, exact: np.ndarray) -> Agreement:
    """Compares the indices that a search found with the exact indices, each `(n, k)`."""
    shares = [np.isin(right, row).mean() for row, right in zip(found, exact, strict=True)]
    return Agreement(float(np.mean(shares)), *exact.shape)


class RunningAgreement:
    """The agreement of a search with exact search on a sample of all its queries.

    One query in a hundred is searched exactly, however few come at once, so that measuring does not
    cost the time that approximate search saves.
    """

    def __init__(self) -> None:
        self._queries = 0
        self._measured: Agreement | None = None

    def measure(
        self,
        found: np.ndarray,
        exact: Callable[[np.ndarray], np.ndarray],
        sample: int | None = None,
    ) -> Agreement | None:
        """Compares the neighbours of some queries, or of a sample of them, with exact search.

        Args:
            found: The indices that were found, `(n, k)`.
            exact: Returns the exact indices, `(rows, k)`, of the queries with the given row
                numbers.
            sample: Number of queries to search exactly; by default each hundredth query.

        Returns:
            The agreement on this sample if its size was given (`None` if that is 0); otherwise on
            all queries with this k that have been sampled so far.
        """
        if sample is not None:
            rows = sample_rows(len(found), sample)
            return agreement_of(found[rows], exact(rows)) if len(rows) else None
        before = self._measured
        if before is None or before.k != found.shape[1]:
            self._queries, before = 0, None
        rows = np.arange(-self._queries % _SAMPLED, len(found), _SAMPLED)
        self._queries += len(found)
        if len(rows):
            rows = rows[sample_rows(len(rows), _MOST_SAMPLED)]
            now = agreement_of(found[rows], exact(rows))
            self._measured = now if before is None else _together(before, now)
        return self._measured


def _together(first: Agreement, second: Agreement) -> Agreement:
    queries = first.queries + second.queries
    share = (first.share * first.queries + second.share * second.queries) / queries
    return Agreement(share, queries, second.k)


def nearest_first(
    indices: np.ndarray, distances: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the k nearest of each row; of several at the same distance, the lower index first."""
    order = np.lexsort((indices, distances), axis=-1)[:, :k]
    return np.take_along_axis(indices, order, 1), np.take_along_axis(distances, order, 1)


def without_own(
    own: np.ndarray, indices: np.ndarray, distances: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Leaves out each query's own row, or the last one where its own was not found."""
    drop = indices == own[:, None]
    drop[~drop.any(1), -1] = True
    shape = (len(indices), indices.shape[1] - 1)
    return indices[~drop].reshape(shape), distances[~drop].reshape(shape)
