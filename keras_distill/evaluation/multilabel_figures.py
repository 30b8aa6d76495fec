"""Multi-label metrics as plain values for JSON."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_distill.evaluation.multilabel_metrics import MultiLabelMetrics


def by_measure(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nests values by the names of `MultiLabelMetrics.means` as JSON has them.

    Args:
        values: Values of any kind by these names; numbers that are NaN become `None`.

    Returns:
        The same values as `map`; `micro` and `macro`, each with `precision`, `recall` and `f1`; and
        `top_k`, the same by K.

    Example:
        >>> by_measure({"mAP": 0.5, "micro F1": 0.4, "P@3": 0.3, "F1@3": float("nan")})
        {'map': 0.5, 'micro': {'f1': 0.4}, 'macro': {},
         'top_k': {'3': {'precision': 0.3, 'f1': None}}}
    """
    nested: dict[str, Any] = {"map": None, "micro": {}, "macro": {}, "top_k": {}}
    for name, value in values.items():
        value = plain(value)
        if name == "mAP":
            nested["map"] = value
        elif "@" in name:
            short, k = name.split("@")
            measure = {"P": "precision", "R": "recall", "F1": "f1"}[short]
            nested["top_k"].setdefault(k, {})[measure] = value
        else:
            mean, measure = name.split()
            nested[mean][measure.lower()] = value
    return nested


def class_figures(metrics: "MultiLabelMetrics", class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the metrics of each label as plain values for JSON.

    Args:
        metrics: The metrics.
        class_names: Names of the labels, by column.

    Returns:
        For each label `class`, `positives`, `annotated`, `threshold`, and `ap`, `precision`,
        `recall` and `f1`, `None` where there is none.
    """
    return [
        {
            "class": name,
            "positives": int(metrics.positives[label]),
            "annotated": int(metrics.annotated[label]),
            "threshold": float(metrics.thresholds[label]),
            **{
                measure.lower(): plain(float(values[label]))
                for measure, values in metrics.by_class.items()
            },
        }
        for label, name in enumerate(class_names)
    ]


def plain(value: Any) -> Any:
    """Returns a number, or a pair of them, with `None` for NaN, which JSON has not."""
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return None if value != value else value
