"""Calibration of similarities: the probability that two images show the same."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_distill.evaluation.score_counts import ScoreCounts

_STEPS = 100
_GRID = 0.05
_BINS = 10


@dataclass(frozen=True)
class SameCalibration:
    """The probability that two images show the same, by the cosine of their embeddings.

    `p = 1 / (1 + exp(-(slope * cosine + intercept)))`, where same and different pairs are equally
    frequent (Platt, Probabilistic Outputs for Support Vector Machines, 1999).

    Attributes:
        slope: Change of the log odds with the cosine; 0 or more for any embedder of use.
        intercept: Log odds at a cosine of 0.

    Example:
        >>> calibration = SameCalibration(slope=20.0, intercept=-10.0)
        >>> round(float(calibration.probability(0.6)), 3)
        0.881
        >>> round(float(calibration.probability(0.6, share_of_same=0.01)), 3)
        0.069
    """

    slope: float
    intercept: float

    def probability(self, cosine: Any, share_of_same: float = 0.5) -> Any:
        """Returns the probability that pairs are the same.

        Args:
            cosine: Their cosines, floats of any shape.
            share_of_same: Share of same pairs among those that will be compared, from 0 to 1.

        Returns:
            float64 of the same shape.
        """
        odds = self.slope * np.asarray(cosine, np.float64) + self.intercept
        share = np.clip(share_of_same, 1e-12, 1 - 1e-12)
        return 0.5 * (1 + np.tanh(0.5 * (odds + np.log(share / (1 - share)))))

    def cosine_at(self, probability: float) -> float:
        """Returns the cosine of pairs that are the same with a probability; NaN if none is."""
        if self.slope <= 0:
            return float("nan")
        return (float(np.log(probability / (1 - probability))) - self.intercept) / self.slope


def calibrate_same(counts: ScoreCounts) -> SameCalibration:
    """Fits the probability by maximum likelihood, with equal weight of same and different pairs.

    Targets are smoothed as Platt does, so that pairs which a threshold divides perfectly have a
    finite slope.

    Args:
        counts: Pairs by their cosine.

    Returns:
        The calibration.
    """
    numbers = counts.pairs
    weight = counts.same / numbers[0], counts.different / numbers[1]
    targets = (numbers[0] + 1) / (numbers[0] + 2), 1 / (numbers[1] + 2)
    total = weight[0] + weight[1]
    wanted = weight[0] * targets[0] + weight[1] * targets[1]
    mean = float(total @ counts.thresholds / total.sum())
    scale = float(np.sqrt(total @ (counts.thresholds - mean) ** 2 / total.sum())) or 1.0
    x = np.stack([(counts.thresholds - mean) / scale, np.ones(len(total))])
    parameters = np.zeros(2)

    def loss(parameters: np.ndarray) -> float:
        odds = parameters @ x
        return float(total @ np.logaddexp(0, odds) - wanted @ odds)

    for _ in range(_STEPS):
        p = 0.5 * (1 + np.tanh(0.5 * (parameters @ x)))
        gradient = x @ (total * p - wanted)
        curvature = (x * (total * p * (1 - p))) @ x.T + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while loss(parameters - step) > loss(parameters) and np.abs(step).max() > 1e-12:
            step /= 2  # Newton's step may be too long where the curvature is small
        parameters = parameters - step
        if np.abs(step).max() < 1e-10:
            break
    slope = float(parameters[0]) / scale
    return SameCalibration(slope, float(parameters[1]) - slope * mean)


def calibration_error(counts: ScoreCounts, calibration: SameCalibration) -> float:
    """Returns the expected calibration error, where same and different pairs are equally frequent.

    Args:
        counts: Pairs by their cosine.
        calibration: The calibration.

    Returns:
        The mean difference of the probability and the share of same pairs, in tenths of the
        probability.
    """
    same, different = (
        part / number / 2
        for part, number in zip((counts.same, counts.different), counts.pairs, strict=True)
    )
    probability = calibration.probability(counts.thresholds)
    place = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    told = np.bincount(place, (same + different) * probability, minlength=_BINS)
    return float(np.abs(told - np.bincount(place, same, minlength=_BINS)).sum())


def threshold_rows(
    counts: ScoreCounts, calibration: SameCalibration, more: list[float] | None = None
) -> list[dict[str, float | None]]:
    """Lists what thresholds of the similarity do.

    Args:
        counts: Pairs by their cosine.
        calibration: The calibration.
        more: Thresholds to list beside multiples of 0.05.

    Returns:
        From the highest threshold on `cosine`, `distance` (Euclidean, of vectors of length 1),
        `recall` (accepted share of the same pairs), `false_acceptance` (of the different pairs),
        `precision` where both are equally frequent, `None` if nothing is accepted, and
        `probability`, that of a pair right at the threshold. Multiples that accept no pair or
        nearly all different pairs are left out.
    """
    grid = np.round(np.arange(1 - _GRID, -1, -_GRID), 10).tolist()
    kept = [value for value in grid if _is_telling(*counts.rates_at(value))]
    rows: list[dict[str, float | None]] = []
    for cosine in sorted({*kept, *(more or [])}, reverse=True):
        recall, far = counts.rates_at(cosine)
        rows.append(
            {
                "cosine": float(cosine),
                "distance": float(np.sqrt(max(0.0, 2 - 2 * cosine))),
                "recall": recall,
                "false_acceptance": far,
                "precision": recall / (recall + far) if recall + far else None,
                "probability": float(calibration.probability(cosine)),
            }
        )
    return rows


def _is_telling(recall: float, far: float) -> bool:
    return recall > 0 and far < 0.95 and not (recall == 1 and far > 0.5)
