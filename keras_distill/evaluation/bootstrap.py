"""Bootstrap intervals of means over queries, and of figures of weighted images."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

_RESAMPLES_AT_ONCE = 32  # enough for sums over contiguous memory, and 5 MB for 40,000 images


def mean_intervals(
    values: np.ndarray,
    *,
    classes: np.ndarray | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Computes percentile bootstrap intervals of means over queries.

    By default they show how much a mean depends on the choice of queries. With `classes`, whole
    classes are resampled, each with all of its queries (a cluster bootstrap): the intervals show
    how much a mean depends on the choice of classes, and are wider where queries of one class
    succeed or fail together. The gallery stays the same; another gallery or another training may
    change a mean further.

    Args:
        values: Value of each query, one column for each measure, float array `(n, columns)`; NaN
            where a query does not count.
        classes: Class of each query, integers `(n,)`, to resample classes; `None` resamples
            queries.
        confidence: Share of such intervals that contain the mean over the whole population.
        resamples: Number of resamples, drawn with replacement.
        seed: Seed of the draws.

    Returns:
        The lower and the upper bound, float64 `(columns, 2)`.

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
    """Computes means over resampled queries, the same queries for all columns.

    Args:
        values: See `mean_intervals`, also for the other arguments.
        classes: See there.
        resamples: See there.
        seed: See there.

    Returns:
        The means, float64 `(resamples, columns)`; 0 where no drawn query counts.
    """
    counted = np.isfinite(values)
    table = np.concatenate([np.where(counted, values, 0.0), counted], axis=1).T.copy()
    if classes is not None:
        place = np.unique(classes, return_inverse=True)[1]
        table = np.stack([np.bincount(place, row) for row in table])
    sums = np.empty((resamples, len(table)))
    draws = drawn_times(table.shape[1], resamples=resamples, seed=seed)
    for resample, times in zip(sums, draws, strict=True):
        # Not a BLAS product: its threads wait for each other longer than they compute.
        np.einsum("cn,n->c", table, times.astype(np.float64), out=resample)
    totals, counts = np.split(sums, 2, axis=1)
    return totals / np.maximum(counts, 1)


def drawn_times(count: int, *, resamples: int = 1000, seed: int = 0) -> Iterator[np.ndarray]:
    """Draws resamples with replacement.

    Args:
        count: How many are resampled.
        resamples: Number of resamples.
        seed: Seed of the draws.

    Yields:
        For each resample how often each was drawn, int64 `(count,)`.
    """
    random = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(random.integers(count, size=count), minlength=count)


def weighted_intervals(
    values: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    count: int,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Computes percentile bootstrap intervals of figures that are no means over what is resampled.

    Args:
        values: Computes the figures of weighted images: from weights, float32 `(count, r)`, how
            often each image counts in each of r resamples, to float arrays `(r,)` by name. NaN is
            ignored.
        count: Number of images.
        confidence: See `mean_intervals`, also for the other arguments.
        resamples: See there.
        seed: See there.

    Returns:
        The lower and the upper bound by name; NaN for a figure that no resample has.
    """
    draws = drawn_times(count, resamples=resamples, seed=seed)
    parts = []
    for begin in range(0, resamples, _RESAMPLES_AT_ONCE):
        block = min(_RESAMPLES_AT_ONCE, resamples - begin)
        weights = np.empty((count, block), np.float32)
        for column in range(block):
            weights[:, column] = next(draws)
        parts.append(values(weights))
    found = {}
    for name in parts[0]:
        samples = np.concatenate([part[name] for part in parts])
        samples = samples[np.isfinite(samples)]
        low, high = np.nan, np.nan
        if len(samples):
            ((low, high),) = percentile_intervals(samples[:, None], confidence=confidence).tolist()
        found[name] = (low, high)
    return found


def percentile_intervals(samples: np.ndarray, *, confidence: float = 0.95) -> np.ndarray:
    """Computes the central interval of samples.

    Args:
        samples: Samples such as `resampled_means` returns, float array `(resamples, columns)`; NaN
            is ignored.
        confidence: Share of the samples within the interval.

    Returns:
        The lower and the upper bound, float64 `(columns, 2)`.
    """
    tail = (1 - confidence) / 2
    return np.nanquantile(samples, [tail, 1 - tail], axis=0).T
