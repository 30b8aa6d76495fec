"""Retrieval metrics as plain values for JSON."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_distill.evaluation.retrieval_metrics import RetrievalMetrics

#: Unit that is resampled, and the meaning of the interval.
MEANING = {
    "queries": "how much the figure depends on which images of these classes are the queries",
    "classes": "how much the figure depends on the choice of classes, and so what to expect of "
    "other unseen classes; queries of one class succeed or fail together",
}


def figures(
    metrics: "RetrievalMetrics", class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Returns metrics as plain values for JSON.

    Args:
        metrics: The metrics.
        class_names: Names of the classes by label, to list each class too.

    Returns:
        `recall`, `precision_at_k` and `map_at_k` by K, `map_at_r`, `r_precision`; `intervals_over`
        by the resampled unit, `queries` and `classes`, each with the same keys; `intervals`, which
        are the intervals over queries; and, with names, `per_class`, a list of the same figures
        with `class` and `queries`, `null` where no query counts.
    """
    intervals = {kind: by_measure(found) for kind, found in metrics.intervals_over.items()}
    result = by_measure(metrics.means)
    result |= {"intervals": intervals["queries"], "intervals_over": intervals}
    if class_names is not None:
        classes, sizes, means = metrics.by_class()
        result["per_class"] = [
            {
                "class": class_names[label],
                "queries": int(sizes[row]),
                **by_measure(
                    {
                        name: None if values[row] != values[row] else float(values[row])
                        for name, values in means.items()
                    }
                ),
            }
            for row, label in enumerate(classes.tolist())
        ]
    return result


def by_measure(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nests values by the names of `RetrievalMetrics.per_query` as JSON has them.

    Args:
        values: Values of any kind by these names.

    Returns:
        The same values as `recall`, `precision_at_k` and `map_at_k` by K, `map_at_r` and
        `r_precision`.

    Example:
        >>> by_measure({"R@1": 0.5, "R@2": 0.7, "MAP@R": 0.3, "R-precision": 0.4})["recall"]
        {'1': 0.5, '2': 0.7}
    """

    def by_k(prefix: str) -> dict[str, Any]:
        return {
            name.removeprefix(prefix): value
            for name, value in values.items()
            if name.startswith(prefix)
        }

    return {
        "recall": by_k("R@"),
        "precision_at_k": by_k("P@"),
        "map_at_k": by_k("mAP@"),
        "map_at_r": values["MAP@R"],
        "r_precision": values["R-precision"],
    }
