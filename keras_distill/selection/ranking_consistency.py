"""Ranking consistency: how often scores of ranked copies of an image keep the known order."""

from dataclasses import dataclass

import numpy as np

from keras_distill.errors import InputError


@dataclass(frozen=True, eq=False)
class Consistency:
    """How well scores keep the order of ranked copies.

    Attributes:
        shares: Share of the pairs of levels of each image that are in order, float64 `(n,)`.
        margins: Mean by which the better of a pair scores higher, in standard deviations of all
            scores, float64 `(n,)`; negative where pairs are far out of order.
    """

    shares: np.ndarray
    margins: np.ndarray

    def order(self) -> np.ndarray:
        """Returns the rows, int64 `(n,)`, from the least consistent on; margins decide ties."""
        return np.lexsort((np.arange(len(self.shares)), self.margins, self.shares))


def ranking_consistency(scores: np.ndarray, *, falling: bool = True) -> Consistency:
    """Measures how often a model's scores of ranked copies of an image are in the known order.

    A model whose ranking of an unlabelled image is wrong does not understand it: labels of such
    images help most (Liu, van de Weijer, Bagdanov, Exploiting Unlabeled Data in CNNs by
    Self-supervised Learning to Rank, TPAMI 2019). Equal scores are not in order.

    Args:
        scores: Score of each level of each image, floats `(n, levels)`, or `(n, sets, levels)` of
            several ranked sets, of which the mean is taken.
        falling: Whether scores should fall from each level to the next, as with stronger and
            stronger degradations; otherwise rise, as with larger and larger crops.

    Returns:
        The consistency.

    Raises:
        InputError: If there are fewer than two levels, or a score is not finite.

    Example:
        >>> import numpy as np
        >>> found = ranking_consistency(np.array([[3.0, 2.0, 1.0], [3.0, 1.0, 2.0]]))
        >>> found.shares.round(3).tolist(), found.order().tolist()
        ([1.0, 0.667], [1, 0])
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim == 2:
        scores = scores[:, None]
    if scores.ndim != 3 or scores.shape[2] < 2 or not scores.shape[1]:
        raise InputError(
            f"`scores` has the shape {scores.shape}; it must be (images, levels), of at least two "
            "levels."
        )
    if not np.isfinite(scores).all():
        raise InputError("`scores` holds values that are not finite.")
    better, worse = np.triu_indices(scores.shape[2], 1)
    if not falling:
        better, worse = worse, better
    differences = scores[:, :, better] - scores[:, :, worse]
    deviation = float(scores.std()) or 1.0
    return Consistency(
        (differences > 0).mean(axis=(1, 2)), differences.mean(axis=(1, 2)) / deviation
    )
