"""Result of the multi-label protocol: figures, table, notes and warnings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_distill.evaluation.label_arrays import class_columns
from keras_distill.evaluation.multilabel_figures import by_measure, class_figures, plain
from keras_distill.evaluation.multilabel_metrics import MultiLabelMetrics, multilabel_metrics
from keras_distill.evaluation.multilabel_tables import multilabel_table
from keras_distill.evaluation.multilabel_warnings import multilabel_warnings
from keras_distill.evaluation.protocol_result import ProtocolResult

#: Meaning of the intervals.
MEANING = "how much a figure depends on which images were taken, for these labels"


@dataclass(frozen=True, eq=False)
class ScoredVariant:
    """Scores of a variant of a model, to be compared with its own.

    Attributes:
        heading: Heading of its column.
        scores: Float array `(n, c)`.
        thresholds: As of `multilabel_metrics`.
    """

    heading: str
    scores: np.ndarray
    thresholds: float | np.ndarray = 0.5


def multilabel_result(
    title: str,
    scores: np.ndarray,
    targets: np.ndarray,
    class_names: Sequence[str],
    *,
    thresholds: float | np.ndarray = 0.5,
    top_ks: Sequence[int] = (3,),
    unseen: Sequence[str] = (),
    per_class: bool = False,
    variants: Mapping[str, ScoredVariant] | None = None,
    noun: str = "image",
) -> ProtocolResult:
    """Measures scores, and gathers what a command shows and writes.

    Args:
        title: Heading of the table.
        scores: Float array `(n, c)`.
        targets: Integers `(n, c)` in {1, 0, -1}.
        class_names: Names of the labels, by column.
        thresholds: See `multilabel_metrics`.
        top_ks: See there; a K of more labels than there are is left out.
        unseen: Names of labels that the model was not trained on. With them, the figures are
            generalised, of all labels together, and `zero_shot` has the figures of these alone.
        per_class: Whether `per_class` lists the figures of each label.
        variants: Variants of the model by name; `variants` then has the figures of each, and
            `map_difference`, the model's mAP less the variant's, with its interval.
        noun: What has the labels.

    Returns:
        The result: `figures` and `intervals` as `by_measure` nests them.

    Raises:
        InputError: If the arrays do not fit each other, or a label is unknown.
    """

    def measured(
        columns: np.ndarray, scores: np.ndarray = scores, limits: float | np.ndarray = thresholds
    ) -> MultiLabelMetrics:
        limits = np.asarray(limits, np.float32)
        return multilabel_metrics(
            scores[:, columns],
            targets[:, columns],
            thresholds=limits[columns] if limits.ndim else float(limits),
            top_ks=[k for k in top_ks if k <= len(columns)],
        )

    every = np.arange(len(class_names))
    metrics = measured(every)
    columns = {"": metrics}
    more: dict[str, Any] = {
        "images": metrics.images,
        "labels": len(class_names),
        "labels_without_ap": metrics.skipped,
    }
    if unseen:
        zero_shot = measured(class_columns(class_names, unseen))
        columns = {"generalised": metrics, "zero-shot": zero_shot}
        more["unseen"] = list(unseen)
        more["zero_shot"] = _figures(zero_shot) | {"labels_without_ap": zero_shot.skipped}
    notes: list[str] = []
    if variants:
        of = {name: measured(every, v.scores, v.thresholds) for name, v in variants.items()}
        columns = {"model": metrics} | {v.heading: of[name] for name, v in variants.items()}
        more["variants"], notes = _compared(metrics, of, variants)
    if per_class:
        more["per_class"] = class_figures(metrics, class_names)
    return ProtocolResult(
        **_figures(metrics),
        table=multilabel_table(title, columns, noun),
        notes=(
            f"Intervals over {noun}s show {MEANING}.",
            f"{metrics.images} {noun}s; {len(class_names) - metrics.skipped} of {len(class_names)} "
            "labels have an AP.",
            *notes,
        ),
        warnings=multilabel_warnings(metrics, scores, targets, class_names),
        more=more,
    )


def _compared(
    metrics: MultiLabelMetrics,
    of: Mapping[str, MultiLabelMetrics],
    variants: Mapping[str, ScoredVariant],
) -> tuple[dict[str, Any], list[str]]:
    """The figures of the variants, and a line about each."""
    found, notes = {}, []
    for name, own in of.items():
        difference, low, high = metrics.map_difference(own)
        found[name] = _figures(own) | {
            "map_difference": plain(difference),
            "map_difference_interval": plain([low, high]),
        }
        notes.append(
            f"mAP less {variants[name].heading}: {difference:+.4f} [{low:+.3f}, {high:+.3f}]."
        )
    return found, notes


def _figures(metrics: MultiLabelMetrics) -> dict[str, Any]:
    return {"figures": by_measure(metrics.means), "intervals": by_measure(metrics.intervals)}
