"""Bootstrap intervals of figures of pairs, over people."""

from collections.abc import Callable, Sequence

import numpy as np

from keras_distill.evaluation.bootstrap import drawn_times, percentile_intervals
from keras_distill.evaluation.pair_scores import PairScores

_RESAMPLES = 1000
_LEAST_RESAMPLES = 200
_WORK = 300_000_000  # weights of pairs that are computed, about 3 seconds


def people_intervals(
    pairs: PairScores, fars: Sequence[float], *, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Computes percentile bootstrap intervals that resample people.

    A same pair counts as often as its person was drawn, a different pair as often as both were: the
    pairs of a person succeed or fail together, so that intervals over pairs would be too narrow.
    Accuracy over all pairs is resampled by fold, as its folds share no people.

    Args:
        pairs: The scores.
        fars: The FAR of each TAR.
        seed: Seed of the draws.

    Returns:
        The lower and the upper bound of `accuracy` and of `TAR@FAR=1e-3` and so on, as far as there
        are enough people and not too many pairs.
    """
    found = {}
    if pairs.folds_of == "people" and pairs.accuracy is not None:
        values = pairs.accuracy.accuracies
        values = values[np.isfinite(values)]
        means = [np.repeat(values, times).mean() for times in drawn_times(len(values), seed=seed)]
        found["accuracy"] = _bounds(np.array(means))
    if pairs.same is None or pairs.people < 2:
        return found
    work = len(pairs.different[0]) + len(pairs.same[0])
    resamples = int(np.clip(_WORK // work, _LEAST_RESAMPLES, _RESAMPLES))
    tars = np.empty((resamples, len(fars)))
    accuracies = np.full(resamples, np.nan)
    weigh = _weights(pairs)
    for draw, times in enumerate(drawn_times(pairs.people, resamples=resamples, seed=seed)):
        same, different, total = weigh(times)
        tars[draw] = _weighted_tars(pairs, same, different, total, fars)
        if pairs.correct is not None:
            shares = [
                weights @ right / weights.sum() if weights.any() else np.nan
                for weights, right in zip((same, different), pairs.correct, strict=True)
            ]
            accuracies[draw] = np.mean(shares)
    if pairs.correct is not None:
        found["accuracy"] = _bounds(accuracies)
    for far, values in zip(fars, tars.T, strict=True):
        found[far_name(far)] = _bounds(values)
    return {name: bounds for name, bounds in found.items() if np.isfinite(bounds).all()}


def far_name(far: float) -> str:
    """Returns the name of the TAR at a FAR.

    Example:
        >>> far_name(0.001)
        'TAR@FAR=1e-3'
    """
    mantissa, exponent = f"{far:.0e}".split("e")
    return f"TAR@FAR={mantissa}e{int(exponent)}"


def _weights(pairs: PairScores) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, float]]:
    """A function from how often each was drawn to the weights of the pairs, and all different."""
    assert pairs.same is not None
    columns = [
        [np.ascontiguousarray(column) for column in people.T]
        for people in (pairs.same[1], pairs.different[1])
    ]
    alone = [one == other for one, other in columns]  # a pair within one person counts once

    def weights(times: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        drawn = times.astype(np.float32)
        same, different = (
            drawn[one] if within.all() else drawn[one] * np.where(within, 1, drawn[other])
            for (one, other), within in zip(columns, alone, strict=True)
        )
        if pairs.images is None:
            return same, different, float(different.sum(dtype=np.float64))
        each = times * pairs.images.astype(np.float64)
        # Copies of a person who was drawn twice are no different people.
        return same, different, float(each.sum() ** 2 - (each**2).sum()) / 2

    return weights


def _weighted_tars(
    pairs: PairScores,
    same: np.ndarray,
    different: np.ndarray,
    total: float,
    fars: Sequence[float],
) -> np.ndarray:
    """TAR at each FAR, of weighted pairs; NaN where too few different pairs were kept."""
    assert pairs.same is not None
    accepted = np.cumsum(different, dtype=np.float64)
    allowed = np.array(fars) * total * (1 + 1e-12)
    first = np.searchsorted(accepted, allowed, side="right")  # that may not be accepted
    scores = pairs.different[0]
    complete = pairs.images is None
    limits = np.where(first < len(scores), scores[np.minimum(first, len(scores) - 1)], np.nan)
    above = np.searchsorted(-pairs.same[0], -limits, side="left")
    whole = np.concatenate([[0.0], np.cumsum(same, dtype=np.float64)])
    tars = whole[above] / whole[-1] if whole[-1] else np.full(len(fars), np.nan)
    return np.where(first < len(scores), tars, 1.0 if complete else np.nan)


def _bounds(samples: np.ndarray) -> tuple[float, float]:
    samples = samples[np.isfinite(samples)]
    if not len(samples):
        return np.nan, np.nan
    ((low, high),) = percentile_intervals(samples[:, None]).tolist()
    return low, high
