"""Result of the multi-label protocol: figures, table, notes and warnings."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_distill.evaluation.label_arrays import class_columns
from keras_distill.evaluation.multilabel_figures import by_measure, class_figures
from keras_distill.evaluation.multilabel_metrics import MultiLabelMetrics, multilabel_metrics
from keras_distill.evaluation.multilabel_tables import multilabel_table
from keras_distill.evaluation.multilabel_warnings import multilabel_warnings
from keras_distill.evaluation.protocol_result import ProtocolResult

#: Meaning of the intervals.
MEANING = "how much a figure depends on which images were taken, for these labels"


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

    Returns:
        The result: `figures` and `intervals` as `by_measure` nests them.

    Raises:
        InputError: If the arrays do not fit each other, or a label is unknown.
    """

    def measured(columns: np.ndarray) -> MultiLabelMetrics:
        limits = np.asarray(thresholds, np.float32)
        return multilabel_metrics(
            scores[:, columns],
            targets[:, columns],
            thresholds=limits[columns] if limits.ndim else float(limits),
            top_ks=[k for k in top_ks if k <= len(columns)],
        )

    metrics = measured(np.arange(len(class_names)))
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
    if per_class:
        more["per_class"] = class_figures(metrics, class_names)
    return ProtocolResult(
        **_figures(metrics),
        table=multilabel_table(title, columns),
        notes=(
            f"Intervals over images show {MEANING}.",
            f"{metrics.images} images; {len(class_names) - metrics.skipped} of {len(class_names)} "
            "labels have an AP.",
        ),
        warnings=multilabel_warnings(metrics, scores, targets, class_names),
        more=more,
    )


def _figures(metrics: MultiLabelMetrics) -> dict[str, Any]:
    return {"figures": by_measure(metrics.means), "intervals": by_measure(metrics.intervals)}
