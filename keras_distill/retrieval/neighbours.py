"""What a search returns."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# A query that is searched exactly too costs as much as dozens of others.
_SAMPLED, _MOST_SAMPLED = 100, 100


@dataclass(frozen=True)
class Agreement:
    """How much of the exact nearest neighbours a search has found.

    Attributes:
        share: Share of the exact k nearest rows that are among the k found; of several rows at the
            same distance, exact search takes the lower index.
        queries: Size of the sample of queries that were searched exactly too.
        k: Neighbours of each.
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
            or no sample was asked for.
    """

    indices: np.ndarray
    distances: np.ndarray
    agreement: Agreement | None = None


def sample_rows(rows: int, size: int) -> np.ndarray:
    """Returns up to `size` of `rows` row numbers at equal steps, int64, ascending."""
    return np.unique(np.linspace(0, rows - 1, min(rows, size)).astype(np.int64))


def agreement_of(found: np.ndarray, exact: np.ndarray) -> Agreement:
    """Compares the indices that a search found with those of exact search, each `(n, k)`."""
    shares = [np.isin(right, row).mean() for row, right in zip(found, exact, strict=True)]
    return Agreement(float(np.mean(shares)), *exact.shape)


class RunningAgreement:
    """The agreement of a search with exact search on a sample of all its queries.

    However few queries come at once, a hundredth of them is searched exactly, so that what an
    approximate search saves is not lost in measuring it.
    """

    def __init__(self) -> None:
        self._asked = 0
        self._measured: Agreement | None = None

    def measure(
        self,
        found: np.ndarray,
        exact: Callable[[np.ndarray], np.ndarray],
        sample: int | None = None,
    ) -> Agreement | None:
        """Compares what was found for some queries, or a few of them, with exact search.

        Args:
            found: The indices that were found, `(n, k)`.
            exact: Returns the exact indices, `(rows, k)`, of the queries with some numbers.
            sample: Queries that are searched exactly; by default those whose turn it is.

        Returns:
            The agreement: of this sample if its size was given, `None` if it is 0; else of all
            queries of this k whose turn it was.
        """
        if sample is not None:
            rows = sample_rows(len(found), sample)
            return agreement_of(found[rows], exact(rows)) if len(rows) else None
        before = self._measured
        if before is None or before.k != found.shape[1]:
            self._asked, before = 0, None
        rows = np.arange(-self._asked % _SAMPLED, len(found), _SAMPLED)
        self._asked += len(found)
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
    """Returns the k nearest of each row, of several at the same distance the lower index first."""
    order = np.lexsort((indices, distances), axis=-1)[:, :k]
    return np.take_along_axis(indices, order, 1), np.take_along_axis(distances, order, 1)


def without_own(
    own: np.ndarray, indices: np.ndarray, distances: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Leaves each query's own row out, or the last where that was not found."""
    drop = indices == own[:, None]
    drop[~drop.any(1), -1] = True
    shape = (len(indices), indices.shape[1] - 1)
    return indices[~drop].reshape(shape), distances[~drop].reshape(shape)
