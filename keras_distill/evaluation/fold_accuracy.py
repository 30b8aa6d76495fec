"""Accuracy of telling same from different pairs, by folds."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from keras_distill.evaluation.score_counts import checked_pairs

FOLDS = 10


@dataclass(frozen=True, eq=False)
class FoldAccuracy:
    """Accuracy in each fold, at the threshold that is best in the others.

    The accuracy is the mean of the share of same pairs that are accepted and the share of different
    pairs that are not: the ordinary accuracy where there are as many of both.

    Attributes:
        accuracies: Accuracy in each fold, float64 `(folds,)`; NaN for one without a kind of pairs.
        thresholds: Score from which pairs of each fold are accepted, float64 `(folds,)`.
    """

    accuracies: np.ndarray
    thresholds: np.ndarray

    @property
    def mean(self) -> float:
        """The mean accuracy of the folds."""
        return float(np.nanmean(self.accuracies))


#: Same and different pairs by their score, integers `(t,)` each.
PairCounts = tuple[np.ndarray, np.ndarray]


def fold_accuracy_of_counts(
    thresholds: np.ndarray, folds: Iterable[tuple[PairCounts, PairCounts]]
) -> FoldAccuracy:
    """Computes the accuracy of pairs that are counted by their score.

    Args:
        thresholds: The scores, descending, float64 `(t,)`.
        folds: For each fold the pairs that its threshold is chosen on, and those that it is
            measured on.

    Returns:
        The accuracies. Of thresholds that are equally good, the highest is taken.
    """
    chosen, accuracies = [], []
    for train, test in folds:
        rates = _balanced(*train)
        best = int(np.argmax(rates))
        chosen.append(float(thresholds[best]))
        accuracies.append(float(_balanced(*test)[best]))
    return FoldAccuracy(np.array(accuracies), np.array(chosen))


def fold_accuracy(scores: np.ndarray, same: np.ndarray, folds: np.ndarray) -> FoldAccuracy:
    """Computes the accuracy of pairs in folds, as on the View 2 of Labeled Faces in the Wild.

    Args:
        scores: Score of each pair, floats `(n,)`.
        same: Whether each is a same pair, bool `(n,)`.
        folds: Fold of each pair, integers `(n,)` from 0 on.

    Returns:
        The accuracies.

    Raises:
        InputError: If the arrays do not fit each other.

    Example:
        >>> scores, same = np.array([0.9, 0.8, 0.2, 0.1]), np.array([1, 1, 0, 0])
        >>> fold_accuracy(scores, same, np.array([0, 1, 0, 1])).accuracies
        array([1. , 0.5])
    """
    scores, same = checked_pairs(scores, same)
    negative, place = np.unique(-scores, return_inverse=True)
    size = len(negative)
    total = [np.bincount(place[kind], minlength=size) for kind in (same, ~same)]

    def counts_of(fold: int) -> tuple[PairCounts, PairCounts]:
        own = folds == fold
        test = [np.bincount(place[kind & own], minlength=size) for kind in (same, ~same)]
        # A threshold is a score of the other folds, never one of a fold's own.
        return (total[0] - test[0], total[1] - test[1]), (test[0], test[1])

    return fold_accuracy_of_counts(-negative, map(counts_of, range(int(folds.max()) + 1)))


def equal_folds(same: np.ndarray, count: int = FOLDS) -> np.ndarray | None:
    """Cuts pairs into folds, each with an equal part of the same and of the different pairs.

    Args:
        same: Whether each pair is a same pair, bool `(n,)`, in the order of the file.
        count: Number of folds.

    Returns:
        The fold of each pair, int64 `(n,)`, consecutive pairs together; `None` if there are not two
        of a kind.
    """
    count = min(count, int(same.sum()), int((~same).sum()))
    if count < 2:
        return None
    folds = np.empty(len(same), np.int64)
    for kind in (same, ~same):
        number = int(kind.sum())
        folds[kind] = np.arange(number) * count // number
    return folds


def _balanced(same: np.ndarray, different: np.ndarray) -> np.ndarray:
    """The accuracy at each threshold."""
    totals = same.sum(), different.sum()
    if not all(totals):
        return np.full(len(same), np.nan)
    accepted, wrong = np.cumsum(same) / totals[0], np.cumsum(different) / totals[1]
    return (accepted + 1 - wrong) / 2
