"""Bootstrap intervals of means over queries."""

import numpy as np


def mean_intervals(
    values: np.ndarray,
    *,
    classes: np.ndarray | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Computes percentile bootstrap intervals of means over queries.

    By default they say how far a mean depends on which queries were taken. With `classes` whole
    classes are resampled, each with all of its queries (a cluster bootstrap): the intervals say how
    far a mean depends on which classes were taken, and are wider where queries of one class succeed
    or fail together. The gallery stays the same; another gallery or another training may change a
    mean further.

    Args:
        values: The value of each query, a column each measure, float array `(n, columns)`; NaN
            where a query does not count.
        classes: Class of each query, integers `(n,)`, to resample classes; `None` for queries.
        confidence: How often such intervals hold the value for all thinkable queries.
        resamples: How often the queries or classes are drawn again, with replacement.
        seed: Seed of the draws.

    Returns:
        The least and the greatest value, float64 `(columns, 2)`.

    Example:
        >>> hit = np.arange(100) < 80
        >>> mean_intervals(hit[:, None]).round(2)
        array([[0.72, 0.88]])
        >>> mean_intervals(hit[:, None], classes=np.arange(100) // 10).round(2)
        array([[0.5, 1. ]])
    """
    means = resampled_means(values, classes=classes, resamples=resamples, seed=seed)
    return percentile_intervals(means, confidence=confidence)


def resampled_means(
    values: np.ndarray,
    *,
    classes: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Computes the means over queries that are drawn again, the same ones for all columns.

    Args:
        values: As of `mean_intervals`, as are the other arguments.
        classes: As there.
        resamples: As there.
        seed: As there.

    Returns:
        The means, float64 `(resamples, columns)`; 0 where no drawn query counts.
    """
    counted = np.isfinite(values)
    table = np.concatenate([np.where(counted, values, 0.0), counted], axis=1).T.copy()
    if classes is not None:
        place = np.unique(classes, return_inverse=True)[1]
        table = np.stack([np.bincount(place, row) for row in table])
    random = np.random.default_rng(seed)
    drawn = table.shape[1]
    sums = np.empty((resamples, len(table)))
    for resample in sums:
        times = np.bincount(random.integers(drawn, size=drawn), minlength=drawn)
        # Not a BLAS product: its threads wait for each other longer than they compute.
        np.einsum("cn,n->c", table, times.astype(np.float64), out=resample)
    totals, counts = np.split(sums, 2, axis=1)
    return totals / np.maximum(counts, 1)


def percentile_intervals(samples: np.ndarray, *, confidence: float = 0.95) -> np.ndarray:
    """Computes the range that holds the middle of samples.

    Args:
        samples: Such as of `resampled_means`, float array `(resamples, columns)`; NaN is passed
            over.
        confidence: The share of them that it holds.

    Returns:
        The least and the greatest value, float64 `(columns, 2)`.
    """
    tail = (1 - confidence) / 2
    return np.nanquantile(samples, [tail, 1 - tail], axis=0).T
