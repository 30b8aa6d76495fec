"""Metrics of verification: whether two images show the same person, or object."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from keras_distill.evaluation.pair_scores import (
    PairScores,
    all_pair_scores,
    listed_pair_scores,
)
from keras_distill.evaluation.people_intervals import far_name, people_intervals
from keras_distill.evaluation.same_calibration import SameCalibration, calibrate_same

#: Rates of false acceptance at which TAR is reported.
FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
#: Different pairs that have to be accepted wrongly at a FAR, so that it can be measured.
LEAST_FALSE = 10


@dataclass(frozen=True, eq=False)
class VerificationMetrics:
    """Metrics of pairs of images; all values are fractions.

    Attributes:
        scores: The scores of the pairs.
        fars: The rates of false acceptance, FAR, the shares of different pairs that are accepted,
            at which TAR is reported, the share of same pairs that are accepted.
    """

    scores: PairScores
    fars: tuple[float, ...] = FARS

    @property
    def measurable(self) -> tuple[float, ...]:
        """The `fars` at which at least ten of the different pairs are accepted."""
        different = self.scores.counts.pairs[1]
        return tuple(far for far in self.fars if far * different >= LEAST_FALSE * (1 - 1e-9))

    @functools.cached_property
    def means(self) -> dict[str, float]:
        """`accuracy`, the mean of the folds, and `TAR@FAR=1e-1` and so on.

        NaN where there are too few pairs. Accuracy is that of `fold_accuracy`.
        """
        accuracy = self.scores.accuracy
        found = {"accuracy": np.nan if accuracy is None else accuracy.mean}
        for far in self.fars:
            tar = self.scores.counts.tar_at_far(far)[0] if far in self.measurable else np.nan
            found[far_name(far)] = tar
        return found

    @functools.cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % bootstrap intervals of `means` over people, as far as there are any."""
        return people_intervals(self.scores, self.measurable)

    @functools.cached_property
    def calibration(self) -> SameCalibration:
        """The probability that two images show the same, by the cosine."""
        return calibrate_same(self.scores.counts)


def verification_metrics(
    scores: np.ndarray,
    same: np.ndarray,
    *,
    people: np.ndarray | None = None,
    folds: np.ndarray | None = None,
    fars: Sequence[float] = FARS,
) -> VerificationMetrics:
    """Measures how well scores tell same from different pairs.

    Args:
        scores: Score of each pair, such as the cosine of its embeddings, floats `(n,)`.
        same: Whether each is a same pair, bool `(n,)`.
        people: The two people, or objects, of each pair, integers `(n, 2)`, for intervals over
            them; by default each pair is of people of its own.
        folds: Fold of each pair, integers `(n,)` from 0 on; by default ten equal parts of
            consecutive pairs.
        fars: The FAR to report TAR at.

    Returns:
        The metrics.

    Raises:
        InputError: If the arrays do not fit each other, or there is no pair of a kind.

    Example:
        >>> import numpy as np
        >>> random = np.random.default_rng(0)
        >>> same = np.arange(2000) % 2 == 0
        >>> metrics = verification_metrics(random.normal(same * 3.0), same)
        >>> {name: round(value, 2) for name, value in metrics.means.items()}
        {'accuracy': 0.93, 'TAR@FAR=1e-1': 0.95, 'TAR@FAR=1e-2': 0.75, 'TAR@FAR=1e-3': nan,
         'TAR@FAR=1e-4': nan, 'TAR@FAR=1e-5': nan, 'TAR@FAR=1e-6': nan}
    """
    pairs = listed_pair_scores(scores, same, people=people, folds=folds)
    return VerificationMetrics(pairs, tuple(fars))


def all_pair_metrics(
    vectors: np.ndarray,
    labels: np.ndarray,
    *,
    fars: Sequence[float] = FARS,
    on_pairs: Callable[[int], object] = lambda pairs: None,
) -> VerificationMetrics:
    """Measures verification on all pairs of embeddings, without a matrix of them.

    Args:
        vectors: Embeddings, floats `(n, dim)`.
        labels: Person, or class, of each, integers `(n,)`.
        fars: The FAR to report TAR at.
        on_pairs: Called with the number of pairs that were scored since, for progress.

    Returns:
        The metrics.

    Raises:
        InputError: If the arrays do not fit each other, or there is no pair of a kind.

    Example:
        >>> import numpy as np
        >>> random = np.random.default_rng(0)
        >>> labels = np.arange(200) // 4
        >>> vectors = random.normal(size=(50, 16))[labels] + random.normal(size=(200, 16))
        >>> metrics = all_pair_metrics(vectors, labels, fars=[1e-2])
        >>> metrics.scores.counts.pairs
        (300, 19600)
        >>> metrics.means["TAR@FAR=1e-2"] > 0.1
        True
    """
    return VerificationMetrics(all_pair_scores(vectors, labels, on_pairs=on_pairs), tuple(fars))
