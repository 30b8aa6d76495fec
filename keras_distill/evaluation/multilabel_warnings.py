"""Warnings about multi-label figures that mean little or nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from keras_distill.evaluation.multilabel_metrics import MultiLabelMetrics

_ALIKE = 1e-6  # range of a label's scores over its size, below which float32 holds no order
_DEVIATIONS = 3.1  # standard deviations from chance that one ranking in a thousand exceeds
_DRAWS = 64
_NAMED = 5


def chance_average_precision(positives: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    """Returns the mean AP of rankings at random, without equal scores.

    For p positives among n images it is q + (1 - q) H_n / n with q = (p - 1) / (n - 1) and H_n the
    sum of 1 / i up to n: little more than p / n, the AP of scores that are all equal.

    Args:
        positives: Positives of each label, at least one, integers `(c,)`.
        annotated: Annotated images of each label, integers `(c,)`.

    Returns:
        float64 `(c,)`.

    Example:
        >>> chance_average_precision(np.array([1, 10]), np.array([2, 100])).round(3)
        array([0.75 , 0.138])
    """
    p, n = np.asarray(positives, np.float64), np.asarray(annotated)
    harmonic = np.cumsum(1.0 / np.arange(1, n.max(initial=1) + 1))[n - 1] / n
    q = (p - 1) / np.maximum(n - 1, 1)
    return q + (1 - q) * harmonic


def chance_warnings(metrics: "MultiLabelMetrics") -> list[str]:
    """Warns of an mAP that cannot be told from the mAP of a random ranking.

    The deviation of chance is taken as if all labels had the same ranking, as those of a poor model
    nearly have.

    Args:
        metrics: The metrics.

    Returns:
        One sentence or none.
    """
    counted = np.isfinite(metrics.average_precision)
    positives, annotated = metrics.positives[counted], metrics.annotated[counted]
    if not counted.any() or (positives == annotated).all():
        return []
    chance = float(chance_average_precision(positives, annotated).mean())
    deviations = [
        _chance_deviation(p, n) for p, n in zip(positives.tolist(), annotated.tolist(), strict=True)
    ]
    value = metrics.means["mAP"]
    if value > chance + _DEVIATIONS * float(np.mean(deviations)):
        return []
    rate = float((positives / annotated).mean())
    return [
        f"mAP {value:.4f} cannot be told from chance, {chance:.4f} for labels that {rate:.4f} of "
        "the images have on average."
    ]


def multilabel_warnings(
    metrics: "MultiLabelMetrics",
    scores: np.ndarray,
    targets: np.ndarray,
    class_names: Sequence[str],
) -> list[str]:
    """Warns of metrics that mean little.

    Args:
        metrics: The metrics.
        scores: The scores that they are of, `(n, c)`.
        targets: The targets, `(n, c)`.
        class_names: Names of the labels, by column.

    Returns:
        Sentences about scores that are all alike, an mAP at chance, labels that are skipped or
        always right, and thresholds that no score reaches; none if nothing is wrong.
    """
    return [
        *_alike_warnings(scores, class_names),
        *chance_warnings(metrics),
        *_class_warnings(metrics, targets, class_names),
        *_threshold_warnings(metrics, scores),
    ]


def _alike_warnings(scores: np.ndarray, class_names: Sequence[str]) -> list[str]:
    size = np.abs(scores).max(axis=0)
    alike = np.flatnonzero(np.ptp(scores, axis=0) <= _ALIKE * size)
    if len(scores) < 2 or not len(alike):
        return []
    if len(alike) == len(class_names):
        return ["All scores are alike: each label has the same score for all images."]
    return [
        f"{len(alike)} of {len(class_names)} labels have the same score for all images: "
        f"{_listed(class_names, alike)}."
    ]


def _class_warnings(
    metrics: "MultiLabelMetrics", targets: np.ndarray, class_names: Sequence[str]
) -> list[str]:
    found = []
    count = len(class_names)
    if len(without := np.flatnonzero(metrics.positives == 0)):
        found.append(
            f"{len(without)} of {count} labels have no positive image and no AP: "
            f"{_listed(class_names, without)}."
        )
    always = (metrics.positives > 0) & (metrics.positives == metrics.annotated)
    if len(skipped := np.flatnonzero(always & np.isnan(metrics.average_precision))):
        found.append(
            f"{len(skipped)} of {count} labels have no negative image and no AP: "
            f"{_listed(class_names, skipped)}."
        )
    if len(certain := np.flatnonzero(always & (metrics.average_precision == 1))):
        found.append(
            f"{len(certain)} of {count} labels are of every image, so their AP is 1 whatever the "
            f"model: {_listed(class_names, certain)}."
        )
    if empty := int((targets == -1).all(axis=1).sum()):
        found.append(f"{empty} of {len(targets)} images are annotated for no label.")
    return found


def _threshold_warnings(metrics: "MultiLabelMetrics", scores: np.ndarray) -> list[str]:
    limits = metrics.thresholds
    if not (scores.astype(np.float32) >= limits).any():
        return ["No score reaches its threshold, so precision, recall and F1 at it are 0."]
    outside = scores.min() < 0 or scores.max() > 1
    if outside and (limits == limits[0]).all() and limits[0] == np.float32(0.5):
        return [
            f"The scores reach from {scores.min():.3g} to {scores.max():.3g}, and the threshold "
            "0.5 is for probabilities; logits have 0."
        ]
    return []


def _chance_deviation(positives: int, annotated: int) -> float:
    """The standard deviation of AP of random rankings, from a few of them."""
    if positives == annotated:
        return 0.0
    # The variance falls as 1 / positives: more of them need not be drawn.
    drawn = min(positives, 1000)
    random = np.random.default_rng([positives, annotated])
    ranks = np.sort(random.random((_DRAWS, drawn)), axis=1) * (annotated * drawn / positives) + 1
    values = np.mean(np.arange(1, drawn + 1) / np.maximum(ranks, np.arange(1, drawn + 1)), axis=1)
    return float(values.std() * np.sqrt(drawn / positives))


def _listed(class_names: Sequence[str], labels: np.ndarray) -> str:
    named = ", ".join(class_names[label] for label in labels[:_NAMED].tolist())
    more = len(labels) - _NAMED
    return f"{named} and {more} more" if more > 0 else named
