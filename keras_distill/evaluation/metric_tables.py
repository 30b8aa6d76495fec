"""Retrieval metrics as tables and sentences for people, and as figures for JSON."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_distill.evaluation.metric_figures import MEANING, figures

if TYPE_CHECKING:
    from rich.table import Table

    from keras_distill.evaluation.asymmetric import AsymmetricMetrics
    from keras_distill.evaluation.retrieval_metrics import RetrievalMetrics


def plain_table(title: str, caption: str) -> "Table":
    """Makes an empty table of figures, without lines and edges.

    Args:
        title: Heading of the table, without markup.
        caption: Line below it.

    Returns:
        The table, without columns.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    return Table(
        title=escape(title),
        caption=caption,
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def metrics_table(
    title: str, columns: "Mapping[str, RetrievalMetrics]", over: str = "queries"
) -> "Table":
    """Puts metrics next to each other, each value with its 95 % interval.

    Args:
        title: Heading of the table.
        columns: The metrics by the heading of their column; a single column needs none.
        over: Unit that is resampled for the intervals, `queries` or `classes`.

    Returns:
        The table; three columns fit 80 characters.
    """
    table = plain_table(title, f"in brackets: 95 % interval over {over}")
    table.show_header = len(columns) > 1
    table.add_column("")
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for name in next(iter(columns.values())).means:
        cells = []
        for metrics in columns.values():
            low, high = metrics.intervals_over[over][name]
            cells.append(f"{metrics.means[name]:.4f} [{low:.3f}, {high:.3f}]")
        table.add_row(name, *cells)
    return table


def asymmetric_figures(
    metrics: "AsymmetricMetrics", class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Returns asymmetric metrics as plain values for JSON.

    Args:
        metrics: The metrics.
        class_names: See `figures`.

    Returns:
        `student_to_teacher`, `student_to_student` and `teacher_to_teacher` as `figures` returns
        them; `cosine` with the mean and percentiles; `kept` by K, each with `share`, `interval`
        (over queries) and `intervals_over` with `queries` and `classes`, or `null`.
    """
    return {
        "student_to_teacher": figures(metrics.asymmetric, class_names),
        "student_to_student": figures(metrics.student, class_names),
        "teacher_to_teacher": figures(metrics.teacher, class_names),
        "cosine": metrics.cosine_summary(),
        "kept": {str(k): _kept(metrics, k) for k in metrics.student.recall},
    }


def _kept(metrics: "AsymmetricMetrics", k: int) -> dict[str, Any] | None:
    found = {over: metrics.kept(k, over=over) for over in MEANING}
    shares = {over: share for over, share in found.items() if share is not None}
    if not shares:
        return None
    over = {name: share[1:] for name, share in shares.items()}
    return {"share": shares["queries"][0], "interval": over["queries"], "intervals_over": over}


def asymmetric_sentences(metrics: "AsymmetricMetrics", over: str = "queries") -> str:
    """States how much recall is kept in the teacher's gallery, and how close the two models are.

    Args:
        metrics: The metrics.
        over: Unit that is resampled for the interval, `queries` or `classes`.

    Returns:
        Two lines.
    """
    k = min(metrics.student.recall)
    kept = metrics.kept(k, over=over)
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
