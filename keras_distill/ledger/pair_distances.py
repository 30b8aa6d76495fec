"""Distances of pairs of images of the same class and of different classes."""

from dataclasses import dataclass

import numpy as np

from keras_distill.retrieval.neighbours import sample_rows

_BLOCK = 512
_FARTHEST = 2.0  # two vectors of length 1


@dataclass(frozen=True, eq=False)
class PairDistances:
    """Histograms of the Euclidean distances of pairs.

    Attributes:
        edges: Edges of the bins, float64 `(bins + 1,)`.
        positive: Pairs of the same class in each bin, int64 `(bins,)`.
        negative: Pairs of different classes in each bin, int64 `(bins,)`.
        images: Number of images whose pairs were counted.
    """

    edges: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    images: int

    @property
    def overlap(self) -> float:
        """The area that both histograms share, from 0 to 1; 0 if there are no pairs."""
        shares = [counts / max(counts.sum(), 1) for counts in (self.positive, self.negative)]
        return float(np.minimum(*shares).sum())


def pair_distances(
    vectors: np.ndarray, labels: np.ndarray, *, bins: int = 60, most_images: int = 2000
) -> PairDistances:
    """Counts the distances of all pairs of images, or of an evenly spaced sample.

    Bins run from 0 to 2, the greatest distance of vectors of length 1; where lengths differ, to
    twice the greatest distance from the mean. At no time does memory hold more than 512 rows of
    distances.

    Args:
        vectors: float array `(n, dim)`; rows that are not finite are left out.
        labels: Classes, integers `(n,)`.
        bins: Number of bins.
        most_images: Maximum size of the sample.

    Returns:
        The histograms.

    Example:
        >>> pairs = pair_distances(np.array([[0.0], [0.4], [2.0]]), np.array([5, 5, 6]), bins=2)
        >>> pairs.positive, pairs.negative
        (array([1, 0]), array([0, 2]))
    """
    rows = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    rows = rows[sample_rows(len(rows), most_images)] if len(rows) else rows
    points, classes = vectors[rows].astype(np.float64), labels[rows]
    centred = points - points.mean(axis=0) if len(rows) else points
    squares = np.einsum("nd,nd->n", centred, centred)
    # The widest pair is at most twice as far apart as the farthest point is from the centre.
    widest = 2 * float(np.sqrt(squares.max(initial=0)))
    edges = np.linspace(0, _FARTHEST if _unit(points) else widest or 1.0, bins + 1)
    counts = np.zeros((2, bins), np.int64)
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        squared = squares[block, None] + squares - 2 * centred[block] @ centred.T
        distances = np.sqrt(np.maximum(squared, 0))
        later = np.arange(len(rows)) > np.arange(len(rows))[block, None]
        same = classes[block, None] == classes
        for row, chosen in enumerate((same & later, ~same & later)):
            counts[row] += np.histogram(np.minimum(distances[chosen], edges[-1]), edges)[0]
    return PairDistances(edges, counts[0], counts[1], len(rows))


def _unit(points: np.ndarray) -> bool:
    return bool((np.abs(np.einsum("nd,nd->n", points, points) - 1) < 1e-2).all())
