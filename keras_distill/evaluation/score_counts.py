"""Counts of same and of different pairs by their score, from which all rates follow."""

from dataclasses import dataclass

import numpy as np

from keras_distill.errors import InputError


@dataclass(frozen=True, eq=False)
class ScoreCounts:
    """How many same and how many different pairs have each score.

    A pair is accepted, that is taken for the same, if its score reaches a threshold.

    Attributes:
        thresholds: The scores, descending, float64 `(t,)`.
        same: Same pairs of each score, integers `(t,)`.
        different: Different pairs of each score, integers `(t,)`.

    Example:
        >>> counts = ScoreCounts.of(np.array([0.9, 0.8, 0.7, 0.1]), np.array([1, 0, 1, 0]))
        >>> counts.tar_at_far(0.5)
        (1.0, 0.7)
        >>> counts.rates_at(0.75)
        (0.5, 0.5)
    """

    thresholds: np.ndarray
    same: np.ndarray
    different: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, same: np.ndarray) -> "ScoreCounts":
        """Counts pairs.

        Args:
            scores: Score of each pair, floats `(n,)`, higher for pairs that are more alike.
            same: Whether each is a same pair, bool `(n,)`.

        Raises:
            InputError: If the arrays do not fit each other, or a score is not finite.
        """
        scores, same = checked_pairs(scores, same)
        negative, place = np.unique(-scores, return_inverse=True)
        counts = [np.bincount(place[which], minlength=len(negative)) for which in (same, ~same)]
        return cls(-negative, *counts)

    @property
    def pairs(self) -> tuple[int, int]:
        """The numbers of same and of different pairs."""
        return int(self.same.sum()), int(self.different.sum())

    def rates(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns TAR and FAR at each of `thresholds`, float64 `(t,)`, as of `rates_at`."""
        same, different = self.pairs
        return np.cumsum(self.same) / max(same, 1), np.cumsum(self.different) / max(different, 1)

    def rates_at(self, threshold: float) -> tuple[float, float]:
        """Returns the shares of accepted pairs.

        Args:
            threshold: Least score of a pair that is accepted.

        Returns:
            The share of the same pairs that are accepted, TAR, and that of the different, FAR.
        """
        last = int((self.thresholds >= threshold).sum())
        same, different = self.pairs
        accepted = int(self.same[:last].sum()), int(self.different[:last].sum())
        return accepted[0] / max(same, 1), accepted[1] / max(different, 1)

    def tar_at_far(self, far: float) -> tuple[float, float]:
        """Returns the largest TAR whose FAR is not above a bound.

        Args:
            far: The bound, from 0 to 1.

        Returns:
            TAR, and its threshold; infinity if no pair is accepted.
        """
        same, different = self.pairs
        allowed = np.floor(far * different * (1 + 1e-12))
        accepted = int(np.searchsorted(np.cumsum(self.different), allowed, side="right"))
        if not accepted:
            return 0.0, np.inf
        tar = int(self.same[:accepted].sum()) / max(same, 1)
        return tar, float(self.thresholds[accepted - 1])


def checked_pairs(scores: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Checks scores of pairs.

    Args:
        scores: Score of each pair, floats `(n,)`.
        same: Whether each is a same pair, bool or integers `(n,)`.

    Returns:
        float64 and bool `(n,)`.

    Raises:
        InputError: If they do not fit each other, a score is not finite, or one kind is missing.
    """
    scores, same = np.asarray(scores, np.float64), np.asarray(same).astype(bool)
    if scores.ndim != 1 or scores.shape != same.shape:
        raise InputError(
            f"`scores` has the shape {scores.shape} and `same` {same.shape}; both must be (pairs,)."
        )
    if not np.isfinite(scores).all():
        place = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise InputError(f"`scores` holds {scores[place]} in place {place}.")
    if same.all() or not same.any():
        kind = "different" if same.any() else "same"
        raise InputError(f"`same`: there is no {kind} pair; verification needs both kinds.")
    return scores, same
