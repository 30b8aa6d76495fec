"""Result of the accuracy protocol: figures, tables, notes and warnings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_distill.evaluation.accuracy_metrics import AccuracyMetrics, accuracy_metrics
from keras_distill.evaluation.metric_tables import plain_table
from keras_distill.evaluation.protocol_result import ProtocolResult

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = 20  # classes that are listed without being asked for
_IN_JSON = 100  # classes whose confusion is written without being asked for
_ALIKE = 1e-6  # range of an image's scores over their size, below which float32 holds no order
_NAMED = 5


def accuracy_result(
    title: str,
    scores: np.ndarray,
    targets: np.ndarray,
    class_names: Sequence[str],
    *,
    top_ks: Sequence[int] = (1, 5),
    per_class: bool = False,
) -> ProtocolResult:
    """Measures scores, and gathers what a command shows and writes.

    Args:
        title: Heading of the table.
        scores: Float array `(n, classes)`.
        targets: Class of each image, integers `(n,)`.
        class_names: Names of the classes, by column.
        top_ks: See `accuracy_metrics`.
        per_class: Whether `per_class` lists the figures of each class.

    Returns:
        The result: `figures` and `intervals` with `top_1`, `top_5`, … and `class_mean`; `more` with
        `confusion`, the counts by class and taken class, of up to 100 classes or with `per_class`.

    Raises:
        InputError: If the arrays do not fit each other.
    """
    metrics = accuracy_metrics(scores, targets, top_ks=top_ks)
    notes = [
        "Intervals over images show how much a figure depends on which images were taken, for "
        "these classes.",
        *(
            f"{count} of {metrics.class_images[of]} images of {class_names[of]} are taken for "
            f"{class_names[taken]}."
            for of, taken, count in metrics.most_confused(3)
        ),
    ]
    more: dict[str, Any] = {
        "images": metrics.images,
        "classes": len(class_names),
        "class_names": list(class_names),
    }
    if per_class or len(class_names) <= _IN_JSON:
        more["confusion"] = metrics.confusion.tolist()
    if per_class:
        more["per_class"] = class_figures(metrics, class_names)
    return ProtocolResult(
        figures={_key(name): value for name, value in metrics.means.items()},
        intervals={_key(name): list(bounds) for name, bounds in metrics.intervals.items()},
        table=accuracy_table(title, metrics),
        notes=notes,
        warnings=accuracy_warnings(metrics, scores, class_names),
        more=more,
    )


def accuracy_table(title: str, metrics: AccuracyMetrics) -> "Table":
    """Lists the figures, each with its 95 % interval.

    Args:
        title: Heading of the table.
        metrics: The metrics.

    Returns:
        The table.
    """
    table = plain_table(title, "in brackets: 95 % interval over images")
    table.show_header = False
    table.add_column("")
    table.add_column("", justify="right", no_wrap=True)
    for name, value in metrics.means.items():
        low, high = metrics.intervals[name]
        table.add_row(name, f"{value:.4f} [{low:.3f}, {high:.3f}]")
    return table


def class_accuracy_table(metrics: AccuracyMetrics, class_names: Sequence[str]) -> "Table":
    """Lists the figures of each class, from the most accurate to the least.

    Args:
        metrics: The metrics.
        class_names: Names of the classes, by column.

    Returns:
        The table; classes without images are last.
    """
    from rich.markup import escape

    table = plain_table("by class", "accuracy: share of its images that are taken for it")
    table.add_column("class")
    for heading in ("images", "accuracy", "precision", "F1"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("most often taken for")
    accuracy = metrics.by_class["accuracy"]
    wrong = metrics.confusion - np.diag(np.diagonal(metrics.confusion))
    for label in np.argsort(np.where(np.isnan(accuracy), 1, -accuracy), kind="stable").tolist():
        values = [float(each[label]) for each in metrics.by_class.values()]
        taken = int(wrong[label].argmax())
        told = f"{class_names[taken]} ({wrong[label, taken]})" if wrong[label, taken] else ""
        table.add_row(
            escape(class_names[label]),
            str(metrics.class_images[label]),
            *("-" if value != value else f"{value:.3f}" for value in values),
            escape(told),
        )
    return table


def lists_classes(class_names: Sequence[str], per_class: bool) -> bool:
    """Tells whether the figures of each class are shown: if asked for, or if they are few."""
    return per_class or len(class_names) <= _SHOWN


def class_figures(metrics: AccuracyMetrics, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the figures of each class as plain values for JSON.

    Args:
        metrics: The metrics.
        class_names: Names of the classes, by column.

    Returns:
        For each class `class`, `images`, `accuracy`, `precision` and `f1`, `null` for none.
    """
    return [
        {
            "class": name,
            "images": int(metrics.class_images[label]),
            **{
                measure.lower(): None if np.isnan(values[label]) else float(values[label])
                for measure, values in metrics.by_class.items()
            },
        }
        for label, name in enumerate(class_names)
    ]


def accuracy_warnings(
    metrics: AccuracyMetrics, scores: np.ndarray, class_names: Sequence[str]
) -> list[str]:
    """Warns of figures that mean little.

    Args:
        metrics: The metrics.
        scores: The scores that they are of, `(n, classes)`.
        class_names: Names of the classes, by column.

    Returns:
        Sentences about scores that are all alike, an accuracy at chance, and classes without images
        or that nothing is taken for; none if nothing is wrong.
    """
    warnings = []
    if (np.ptp(scores, axis=0) <= _ALIKE * np.abs(scores).max(axis=0)).all() and len(scores) > 1:
        warnings.append("All scores are alike: each class has the same score for all images.")
    most = int(metrics.class_images.argmax())
    chance = float(metrics.class_images[most] / metrics.images)
    if metrics.intervals["top-1"][0] <= chance < 1:
        warnings.append(
            f"top-1 {metrics.means['top-1']:.4f} cannot be told from taking every image for "
            f"{class_names[most]}, which {chance:.4f} of them are."
        )
    for counts, told in (
        (metrics.class_images, "have no image here, and no accuracy"),
        (metrics.confusion.sum(axis=0), "are what no image is taken for"),
    ):
        if len(empty := np.flatnonzero(counts == 0)):
            named = ", ".join(class_names[label] for label in empty[:_NAMED].tolist())
            others = f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else ""
            warnings.append(f"{len(empty)} of {len(class_names)} classes {told}: {named}{others}.")
    return warnings


def _key(name: str) -> str:
    """The name of a figure in JSON."""
    return name.replace("-", "_").replace(" ", "_")
