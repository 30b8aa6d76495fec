"""Average precision of labels, also of weighted images."""

import numpy as np
from scipy.sparse import csr_matrix

from keras_distill.evaluation.label_arrays import checked_labels


class LabelRanking:
    """Images in the order of their scores for each label, and its average precision.

    AP is the sum over recall levels of P(i) times the rise of recall, with P(i) the share of
    positives among the first i images: the mean over positives of the precision at their rank. All
    images of equal score share one rank, the last of them, so that AP does not depend on their
    order; scores that are all equal have an AP of the share of positives. Images with target -1 are
    left out of the label's ranking.

    Images can be weighted, as those of a bootstrap resample are by how often they were drawn. The
    ranking is sorted once; a weighting then costs a sum over the images between two positives.

    Args:
        scores: See `checked_labels`.
        targets: See there.

    Attributes:
        counted: The labels that have an AP, bool `(c,)`: those with a positive and, if some image
            is -1, with a negative.

    Raises:
        InputError: See `checked_labels`.
    """

    def __init__(self, scores: np.ndarray, targets: np.ndarray):
        scores, targets = checked_labels(scores, targets)
        self._images = len(scores)
        positive, negative = (targets == 1).any(axis=0), (targets == 0).any(axis=0)
        self.counted = positive & (negative | (targets >= 0).all(axis=0))
        scores, targets = (np.ascontiguousarray(each.T) for each in (scores, targets))
        self._ranked = [
            self._rank(scores[label], targets[label]) for label in np.flatnonzero(self.counted)
        ]

    def _rank(self, scores: np.ndarray, targets: np.ndarray) -> tuple[csr_matrix, csr_matrix]:
        """Which images, and which positives, each rank with a positive adds to the ones before."""
        images = np.flatnonzero(targets >= 0)
        images = images[np.argsort(-scores[images])].astype(np.int32)
        last = np.flatnonzero(np.diff(scores[images], append=np.nan) != 0)  # of equal scores
        hits = np.add.reduceat(targets[images], np.append(0, last[:-1] + 1), dtype=np.int64)
        ends = np.append(0, last[hits > 0] + 1)
        added = self._of_images(images[: ends[-1]], ends)
        positives = images[targets[images] == 1]
        return added, self._of_images(positives, np.append(0, np.cumsum(hits[hits > 0])))

    def _of_images(self, images: np.ndarray, ends: np.ndarray) -> csr_matrix:
        ones = np.ones(len(images), np.float32)
        return csr_matrix((ones, images, ends), shape=(len(ends) - 1, self._images))

    def average_precision(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Computes AP.

        Args:
            weights: How often each image counts, in each of r weightings, float32 `(n, r)`, with
                columns that sum to less than 2^24; `None` to count each once.

        Returns:
            float64 `(c, r)`, or `(c,)` without weights; NaN for labels that have none, and where
            no positive has a weight.
        """
        counts = np.ones((self._images, 1)) if weights is None else weights
        result = np.full((len(self.counted), counts.shape[1]), np.nan)
        for label, (images, positives) in zip(
            np.flatnonzero(self.counted), self._ranked, strict=True
        ):
            # Whole numbers below 2^24, exact in float32.
            hits = np.ascontiguousarray((positives @ counts).T)  # sums along rows are faster
            found = np.cumsum(hits, axis=1)
            seen = np.cumsum(np.ascontiguousarray((images @ counts).T), axis=1)
            precision = found / np.maximum(seen, 1)
            total = np.einsum("rk,rk->r", hits, precision, dtype=np.float64)
            positive = found[:, -1].astype(np.float64)
            result[label] = np.divide(
                total, positive, out=np.full_like(total, np.nan), where=positive > 0
            )
        return result[:, 0] if weights is None else result


def average_precision(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Computes the average precision of each label, see `LabelRanking`.

    Args:
        scores: Float array `(n, c)`, higher for a label that is more certain.
        targets: Integers `(n, c)`: 1, 0, or -1 for an image that was not annotated.

    Returns:
        float64 `(c,)`; NaN for labels without positives, and for labels without negatives if some
        image is -1. mAP is the mean over the others.

    Raises:
        InputError: If the arrays do not fit each other.

    Example:
        >>> scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
        >>> average_precision(scores, np.array([[1, 0], [0, 0], [1, 0]])).round(3)
        array([0.833,   nan])
    """
    return LabelRanking(scores, targets).average_precision()
