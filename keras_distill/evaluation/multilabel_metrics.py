"""Metrics of images with several labels each: mAP, and precision, recall and F1 of decisions."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from keras_distill.errors import InputError
from keras_distill.evaluation.average_precision import LabelRanking
from keras_distill.evaluation.bootstrap import weighted_intervals
from keras_distill.evaluation.label_arrays import checked_labels
from keras_distill.evaluation.label_decisions import (
    LabelDecisions,
    above_thresholds,
    decide_top_k,
)


@dataclass(frozen=True, eq=False)
class MultiLabelMetrics:
    """Metrics of images with several labels each; all values are fractions.

    Attributes:
        average_precision: AP of each label, float64 `(c,)`, see `LabelRanking`; NaN for labels that
            have none.
        means: By name, `mAP`, the mean over the labels that have an AP; `micro precision`, `micro
            recall`, `micro F1` and the same with `macro` of the labels whose scores reach the
            threshold, see `LabelDecisions`; and for each K `P@K`, `R@K` and `F1@K`, micro figures
            of the K best labels of each image that has one. NaN where no label has an AP.
        by_class: AP, `precision`, `recall` and `F1` at the threshold of each label, float64
            `(c,)`; NaN where there is none.
        positives: Images that have each label, int64 `(c,)`.
        annotated: Images with target 1 or 0, int64 `(c,)`.
        thresholds: The threshold of each label, float32 `(c,)`.
        images: Number of images.
    """

    average_precision: np.ndarray
    means: dict[str, float]
    by_class: dict[str, np.ndarray]
    positives: np.ndarray
    annotated: np.ndarray
    thresholds: np.ndarray
    images: int
    _measures: "_Measures" = field(repr=False)

    @property
    def skipped(self) -> int:
        """The number of labels without an AP."""
        return int(np.isnan(self.average_precision).sum())

    @functools.cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % bootstrap interval of each of `means`, from 1,000 resamples of the images.

        They show how much a figure depends on the choice of images, for these labels. A label whose
        positives were not drawn does not count in a resample.
        """
        return weighted_intervals(self._measures, self.images)

    def map_difference(self, other: "MultiLabelMetrics") -> tuple[float, float, float]:
        """Compares the mAP with the mAP of other scores of the same images.

        Args:
            other: Metrics of the same targets.

        Returns:
            The difference, this less the other, and its 95 % bootstrap interval over images, of
            which each resample has the same for both; NaN where there is no mAP.
        """

        def difference(weights: np.ndarray) -> dict[str, np.ndarray]:
            own, others = (each.means_of(weights)["mAP"] for each in (self, other))
            return {"mAP": own - others}

        low, high = weighted_intervals(difference, self.images)["mAP"]
        return self.means["mAP"] - other.means["mAP"], low, high

    def means_of(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Returns `means` of weighted images: of float32 `(images, r)`, r values each."""
        return self._measures(weights)


class _Measures:
    """Computes the figures of weighted images."""

    def __init__(
        self,
        ranking: LabelRanking,
        at_threshold: LabelDecisions,
        at_k: dict[int, LabelDecisions],
    ):
        self._ranking, self._at_threshold, self._at_k = ranking, at_threshold, at_k

    def __call__(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        precisions = self._ranking.average_precision(weights)
        figures = {"mAP": _mean_of_finite(np.atleast_2d(precisions.T).T)}
        figures |= self._at_threshold.figures(weights)
        for k, decisions in self._at_k.items():
            found = decisions.figures(weights)
            for short, name in (("P", "precision"), ("R", "recall"), ("F1", "F1")):
                figures[f"{short}@{k}"] = found[f"micro {name}"]
        return figures


def multilabel_metrics(
    scores: np.ndarray,
    targets: np.ndarray,
    *,
    thresholds: float | np.ndarray = 0.5,
    top_ks: Sequence[int] = (3,),
) -> MultiLabelMetrics:
    """Measures how well scores tell the labels of images.

    Args:
        scores: Float array `(n, c)`, higher for a label that is more certain.
        targets: Integers `(n, c)`: 1, 0, or -1 for an image that was not annotated, which does not
            count for this label.
        thresholds: Score from which on a label is given, one for all or one for each label, `(c,)`,
            such as `best_label_thresholds` chooses on validation images. The default is for
            probabilities; logits have 0.
        top_ks: The K of precision, recall and F1 of the K best labels of each image.

    Returns:
        The metrics. Those of some labels alone, as for zero-shot figures, are metrics of
        `scores[:, columns]` and `targets[:, columns]`.

    Raises:
        InputError: If the arrays do not fit each other, or a K is no number of labels.

    Example:
        >>> import numpy as np
        >>> scores = np.array([[0.9, 0.2, 0.6], [0.6, 0.7, 0.1], [0.2, 0.4, 0.3]])
        >>> targets = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1]])
        >>> metrics = multilabel_metrics(scores, targets, top_ks=[1])
        >>> {name: round(value, 3) for name, value in metrics.means.items() if "m" in name}
        {'mAP': 1.0, 'micro precision': 0.75, 'micro recall': 0.75, 'micro F1': 0.75,
         'macro precision': 0.833, 'macro recall': 0.833, 'macro F1': 0.778}
    """
    scores, targets = checked_labels(scores, targets)
    labels = scores.shape[1]
    for k in top_ks:
        if not 1 <= k <= labels:
            raise InputError(
                f"`top_ks={tuple(top_ks)}` must be from 1 to the number of labels, {labels}."
            )
    at_threshold = LabelDecisions(above_thresholds(scores, thresholds), targets)
    ranking = LabelRanking(scores, targets)
    measures = _Measures(
        ranking, at_threshold, {k: decide_top_k(scores, targets, k) for k in dict.fromkeys(top_ks)}
    )
    precisions = ranking.average_precision()
    return MultiLabelMetrics(
        average_precision=precisions,
        means={name: float(value[0]) for name, value in measures().items()},
        by_class={"AP": precisions, **at_threshold.by_class()},
        positives=(targets == 1).sum(axis=0, dtype=np.int64),
        annotated=(targets >= 0).sum(axis=0, dtype=np.int64),
        thresholds=np.broadcast_to(np.asarray(thresholds, np.float32), (labels,)),
        images=len(scores),
        _measures=measures,
    )


def _mean_of_finite(values: np.ndarray) -> np.ndarray:
    """The mean over rows of what is not NaN, NaN where nothing is."""
    finite = np.isfinite(values)
    counts = finite.sum(axis=0)
    sums = np.where(finite, values, 0.0).sum(axis=0)
    return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
