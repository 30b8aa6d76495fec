"""Metrics of counts and of where they are counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keras_distill.errors import InputError
from keras_distill.evaluation.bootstrap import drawn_times, percentile_intervals

#: Levels of the grid average mean absolute error.
GAME_LEVELS = (0, 1, 2, 3)


@dataclass(frozen=True)
class CountingMetrics:
    """Metrics of counts.

    Attributes:
        images: Number of images.
        means: The figures by name: `MAE`, `RMSE`, which crowd papers call MSE, and `GAME(0)` to
            `GAME(3)`.
        intervals: Their 95 % intervals over images.
    """

    images: int
    means: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]


def region_counts(
    density: np.ndarray, stride: float, shape: tuple[int, int], level: int
) -> np.ndarray:
    """Adds up a density map in each of `4 ^ level` equal regions of an image.

    A cell that lies in two regions is divided between them by its area; what the map has beyond the
    image counts in the last row and column.

    Args:
        density: Objects in each cell, `(rows, columns)`.
        stride: Height and width of a cell, in pixels.
        shape: Height and width of the image, in pixels.
        level: The level; 0 for the whole image.

    Returns:
        float64 `(2 ^ level, 2 ^ level)`.

    Example:
        >>> region_counts(np.ones((2, 4)), 16, (32, 64), 1)
        array([[2., 2.],
               [2., 2.]])
    """
    counts = np.asarray(density, np.float64)
    for axis in range(2):
        parts = 2**level
        sums = np.cumsum(np.insert(counts, 0, 0, axis=axis), axis=axis)
        edges = np.arange(parts + 1) * shape[axis] / (parts * stride)
        edges[-1] = counts.shape[axis]
        below = np.minimum(edges.astype(int), counts.shape[axis] - 1)
        share = np.expand_dims(edges - below, 1 - axis)
        at = np.take(sums, below, axis=axis)
        at = at + share * (np.take(sums, below + 1, axis=axis) - at)
        counts = np.diff(at, axis=axis)
    return counts


def point_counts(points: np.ndarray, shape: tuple[int, int], level: int) -> np.ndarray:
    """Counts points in each of `4 ^ level` equal regions of an image.

    Args:
        points: x and y of each, in pixels, `(n, 2)`; those outside count at the border.
        shape: Height and width of the image, in pixels.
        level: The level; 0 for the whole image.

    Returns:
        int64 `(2 ^ level, 2 ^ level)`.
    """
    parts = 2**level
    counts = np.zeros((parts, parts), np.int64)
    extent = np.array([shape[1], shape[0]])
    places = np.clip(np.float64(points) * parts / extent, 0, parts - 1).astype(int)
    np.add.at(counts, (places[:, 1], places[:, 0]), 1)
    return counts


def counting_metrics(
    errors: Sequence[Sequence[float]], *, resamples: int = 1000
) -> CountingMetrics:
    """Summarises the errors of images.

    `MAE = mean |c - c*|`, `RMSE = sqrt(mean (c - c*)^2)`, and the grid average mean absolute error
    `GAME(L)`, the mean over images of the sum of `|c - c*|` over `4^L` regions, so that GAME(0) is
    the MAE.

    Args:
        errors: For each image its error of the count, with its sign, and its GAME of each of
            `GAME_LEVELS`.
        resamples: Resamples for the intervals.

    Returns:
        The metrics.

    Raises:
        InputError: If there are no images.

    Example:
        >>> counting_metrics([[-1, 1, 1, 3, 3], [3, 3, 5, 5, 7]]).means["MAE"]
        2.0
    """
    table = np.array(errors, np.float64).reshape(-1, 1 + len(GAME_LEVELS))
    if not len(table):
        raise InputError("`errors` are empty; give those of one image at least.")
    signed = table[:, :1]
    columns = np.concatenate([np.abs(signed), signed**2, table[:, 1:]], 1)
    names = ["MAE", "RMSE", *(f"GAME({level})" for level in GAME_LEVELS)]

    def figures(weights: np.ndarray) -> np.ndarray:
        means = weights @ columns / weights.sum()
        means[1] = np.sqrt(means[1])
        return means

    draws = drawn_times(len(table), resamples=resamples)
    sampled = np.array([figures(times.astype(np.float64)) for times in draws])
    bounds = percentile_intervals(sampled).tolist()
    return CountingMetrics(
        len(table),
        dict(zip(names, figures(np.ones(len(table))).tolist(), strict=True)),
        {name: (low, high) for name, (low, high) in zip(names, bounds, strict=True)},
    )


def count_errors(
    density: np.ndarray, stride: float, shape: tuple[int, int], points: np.ndarray
) -> list[float]:
    """Computes the errors of one image, as `counting_metrics` takes them.

    Args:
        density: See `region_counts`, also for `stride` and `shape`.
        stride: See there.
        shape: See there.
        points: See `point_counts`.

    Returns:
        The error of the count, and the GAME of each level.
    """
    games = [
        float(
            np.abs(
                region_counts(density, stride, shape, level) - point_counts(points, shape, level)
            ).sum()
        )
        for level in GAME_LEVELS
    ]
    return [float(np.sum(density, dtype=np.float64)) - len(points), *games]
