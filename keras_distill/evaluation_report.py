"""What `evaluate` says of its measurements: a table for people and figures for machines."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_distill.retrieval.metric_figures import figures

if TYPE_CHECKING:
    from rich.table import Table

    from keras_distill.retrieval.asymmetric import AsymmetricMetrics
    from keras_distill.retrieval.metrics import RetrievalMetrics


def metrics_table(title: str, columns: "Mapping[str, RetrievalMetrics]") -> "Table":
    """Puts measurements beside each other, each value with its 95 % interval.

    Args:
        title: Heading of the table.
        columns: The measurements by the headings of their columns; a single one needs none.

    Returns:
        The table; three columns fit 80 characters.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=escape(title),
        caption="in brackets: 95 % interval over queries",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_header=len(columns) > 1,
    )
    table.add_column("")
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for name in next(iter(columns.values())).means:
        cells = []
        for metrics in columns.values():
            low, high = metrics.intervals[name]
            cells.append(f"{metrics.means[name]:.4f} [{low:.3f}, {high:.3f}]")
        table.add_row(name, *cells)
    return table


def asymmetric_figures(
    metrics: "AsymmetricMetrics", class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Returns an asymmetric measurement as JSON holds it.

    Args:
        metrics: The measurement.
        class_names: As of `figures`.

    Returns:
        `student_to_teacher`, `student_to_student` and `teacher_to_teacher` as of `figures`;
        `cosine` with the mean and percentiles; `kept` by K, each with `share` and `interval`, or
        `null`.
    """
    kept = {k: metrics.kept(k) for k in metrics.student.recall}
    return {
        "student_to_teacher": figures(metrics.asymmetric, class_names),
        "student_to_student": figures(metrics.student, class_names),
        "teacher_to_teacher": figures(metrics.teacher, class_names),
        "cosine": metrics.cosine_summary(),
        "kept": {
            str(k): None if share is None else {"share": share[0], "interval": share[1:]}
            for k, share in kept.items()
        },
    }


def asymmetric_sentences(metrics: "AsymmetricMetrics") -> str:
    """Says what the asymmetric recall keeps, and how near student and teacher are."""
    k = min(metrics.student.recall)
    kept = metrics.kept(k)
    if kept is None:
        first = f"The student finds nothing in its own gallery: its R@{k} is 0."
    else:
        share, low, high = (100 * value for value in kept)
        first = (
            f"In the teacher's gallery the student keeps {share:.1f} % [{low:.1f}, {high:.1f}] of "
            f"its own R@{k}."
        )
    cosine = metrics.cosine_summary()
    mean = cosine.pop("mean")
    percentiles = ", ".join(f"{name} %: {value:.3f}" for name, value in cosine.items())
    return (
        f"{first}\nCosine of student and teacher, same image: mean {mean:.3f}; percentiles "
        f"{percentiles}."
    )
