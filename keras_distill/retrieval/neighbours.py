"""What a search returns."""

from dataclasses import dataclass

import numpy as np


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
