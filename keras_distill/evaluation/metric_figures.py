"""Measurements as JSON holds them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_distill.evaluation.retrieval_metrics import RetrievalMetrics

#: What can be resampled, and what an interval then tells.
MEANING = {
    "queries": "how far the figure depends on which images of these classes are the queries",
    "classes": "how far the figure depends on which classes these are, so what other unseen "
    "classes may give; queries of one class stand or fall together",
}


def figures(
    metrics: "RetrievalMetrics", class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Returns a measurement as JSON holds it.

    Args:
        metrics: The measurement.
        class_names: Names of the classes by label, to list each class too.

    Returns:
        `recall` and `map_at_k` by K, `map_at_r`, `r_precision`; `intervals_over` with `queries` and
        `classes`, what was resampled, each with the same keys; `intervals`, those over queries;
        and, with names, `per_class`, a list of the same with `class` and `queries`, `null` where no
        query counts.
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
    """Nests what `RetrievalMetrics.per_query` names, as JSON has it.

    Args:
        values: Anything by those names.

    Returns:
        The same, as `recall` and `map_at_k` by K, `map_at_r` and `r_precision`.

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
        "map_at_k": by_k("mAP@"),
        "map_at_r": values["MAP@R"],
        "r_precision": values["R-precision"],
    }
