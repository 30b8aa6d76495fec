"""Multi-label metrics as tables for people."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from keras_distill.evaluation.metric_tables import plain_table

if TYPE_CHECKING:
    from rich.table import Table

    from keras_distill.evaluation.multilabel_metrics import MultiLabelMetrics


def multilabel_table(
    title: str, columns: "Mapping[str, MultiLabelMetrics]", noun: str = "image"
) -> "Table":
    """Puts metrics next to each other, each value with its 95 % interval.

    Args:
        title: Heading of the table.
        columns: The metrics by the heading of their column, such as `zero-shot` and `generalised`;
            a single column needs none. Those with the most values are first.
        noun: What has the labels.

    Returns:
        The table; three columns fit 80 characters.
    """
    table = plain_table(title, f"in brackets: 95 % interval over {noun}s")
    table.show_header = len(columns) > 1
    table.add_column("")
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for name in next(iter(columns.values())).means:
        cells = []
        for metrics in columns.values():
            if name not in metrics.means or metrics.means[name] != metrics.means[name]:
                cells.append("-")
                continue
            low, high = metrics.intervals[name]
            cells.append(f"{metrics.means[name]:.4f} [{low:.3f}, {high:.3f}]")
        table.add_row(name, *cells)
    return table


def class_table(title: str, metrics: "MultiLabelMetrics", class_names: Sequence[str]) -> "Table":
    """Lists the metrics of each label, from the best AP to the worst.

    Args:
        title: Heading of the table.
        metrics: The metrics.
        class_names: Names of the labels, by column.

    Returns:
        The table; labels without an AP are last.
    """
    from rich.markup import escape

    table = plain_table(title, "precision, recall and F1 at the threshold")
    table.add_column("label")
    for heading in ("positives", "AP", "precision", "recall", "F1", "threshold"):
        table.add_column(heading, justify="right", no_wrap=True)
    order = sorted(
        range(len(class_names)),
        key=lambda label: (
            -value if (value := float(metrics.average_precision[label])) == value else 1.0
        ),
    )
    for label in order:
        values = [float(each[label]) for each in metrics.by_class.values()]
        table.add_row(
            escape(class_names[label]),
            str(metrics.positives[label]),
            *("-" if value != value else f"{value:.3f}" for value in values),
            f"{metrics.thresholds[label]:.3g}",
        )
    return table
