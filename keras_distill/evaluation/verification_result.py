"""Result of the verification protocol: figures, tables, notes and warnings."""

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group

from keras_distill.evaluation.metric_tables import plain_table
from keras_distill.evaluation.people_intervals import far_name
from keras_distill.evaluation.protocol_result import ProtocolResult
from keras_distill.evaluation.same_calibration import calibration_error, threshold_rows
from keras_distill.evaluation.verification_metrics import LEAST_FALSE, VerificationMetrics

if TYPE_CHECKING:
    from rich.table import Table

_ALIKE = 0.01  # range of the cosines, below which embeddings lie in one point
_FEW_PEOPLE = 30


def verification_result(
    title: str, metrics: VerificationMetrics, *, unit: str = "people"
) -> ProtocolResult:
    """Gathers what a command shows and writes.

    Args:
        title: Heading of the table.
        metrics: The metrics, of cosines.
        unit: What is resampled for the intervals: `people`, `classes`, `images` or `pairs`.

    Returns:
        The result: `figures` and `intervals` with `accuracy` and, by FAR, `tar_at_far`, which is
        `None` where it is not measurable; `more` with `calibration`: `slope` and `intercept` of the
        probability that a pair is the same, and `thresholds`.
    """
    same, different = metrics.scores.counts.pairs
    calibration, accuracy = metrics.calibration, metrics.scores.accuracy
    rows = threshold_rows(metrics.scores.counts, calibration)
    thresholds = [] if accuracy is None else [float(t) for t in accuracy.thresholds]
    folds_of = "pairs" if metrics.scores.folds_of == "pairs" else unit
    notes = [
        f"{same:,} same and {different:,} different pairs of {metrics.scores.people:,} {unit}.",
        f"Intervals over {unit} show how much a figure depends on which {unit} were taken.",
    ]
    if accuracy is not None:
        notes.append(
            f"Accuracy is the mean of {len(thresholds)} folds of {folds_of}, each "
            f"at the threshold that is best in the others, {np.mean(thresholds):.3f} on average; "
            "same and different pairs count equally."
        )
    even, certain = calibration.cosine_at(0.5), calibration.cosine_at(0.99)
    if abs(even) <= 1:
        more = f"; {certain:.3f} with a probability of 0.99" if certain <= 1 else ""
        notes.append(
            f"A cosine of {even:.3f} means the same as likely as not, where both are equally "
            f"frequent{more}."
        )
    return ProtocolResult(
        figures=_nested(metrics, {name: _plain(value) for name, value in metrics.means.items()}),
        intervals=_nested(metrics, {n: list(bounds) for n, bounds in metrics.intervals.items()}),
        table=Group(figures_table(title, metrics, unit), "", threshold_table(rows)),
        notes=notes,
        warnings=verification_warnings(metrics, unit),
        more={
            "same_pairs": same,
            "different_pairs": different,
            unit: metrics.scores.people,
            "intervals_over": unit,
            "folds": len(thresholds) or None,
            "folds_of": folds_of,
            "thresholds_of_folds": thresholds,
            "calibration": {
                "slope": calibration.slope,
                "intercept": calibration.intercept,
                "expected_error": calibration_error(metrics.scores.counts, calibration),
                "thresholds": rows,
            },
        },
    )


def figures_table(title: str, metrics: VerificationMetrics, unit: str) -> "Table":
    """Lists the figures, each with its 95 % interval.

    Args:
        title: Heading of the table.
        metrics: The metrics.
        unit: What is resampled for the intervals.

    Returns:
        The table; a TAR that too few different pairs support is called not measurable.
    """
    table = plain_table(title, f"in brackets: 95 % interval over {unit}")
    table.show_header = False
    table.add_column("")
    table.add_column("", justify="right", no_wrap=True)
    needed = {far_name(far): round(LEAST_FALSE / far) for far in metrics.fars}
    for name, value in metrics.means.items():
        if not np.isfinite(value):
            more = f": needs {needed[name]:,} different pairs" if name in needed else ""
            table.add_row(name, f"not measurable{more}")
            continue
        low, high = metrics.intervals.get(name, (np.nan, np.nan))
        bounds = f" [{low:.3f}, {high:.3f}]" if np.isfinite(low) else ""
        table.add_row(name, f"{value:.4f}{bounds}")
    return table


def threshold_table(rows: list[dict[str, float | None]]) -> "Table":
    """Lists what thresholds of the similarity do, for those who choose one.

    Args:
        rows: As of `threshold_rows`.

    Returns:
        The table.
    """
    table = plain_table(
        "which similarity means the same",
        "recall: of the same pairs; precision, probability: if both are equally frequent",
    )
    for heading in ("cosine", "distance", "recall", "false", "precision", "probability"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        cosine, distance, recall, false, precision, probability = row.values()
        assert cosine is not None
        assert distance is not None
        assert false is not None
        table.add_row(
            f"{cosine:.2f}",
            f"{distance:.3f}",
            f"{recall:.4f}",
            f"{false:.4f}" if false >= 1e-4 or not false else f"{false:.1e}",
            "-" if precision is None else f"{precision:.4f}",
            f"{probability:.4f}",
        )
    return table


def verification_warnings(metrics: VerificationMetrics, unit: str = "people") -> list[str]:
    """Warns of figures that mean little.

    Args:
        metrics: The metrics.
        unit: What is resampled for the intervals.

    Returns:
        Sentences about cosines that are all alike, an accuracy at chance, and intervals over few
        people; none if nothing is wrong.
    """
    found = []
    scores = metrics.scores.counts.thresholds
    if scores[0] - scores[-1] < _ALIKE:
        found.append(
            f"All embeddings are alike: the cosines reach from {scores[-1]:.4f} to {scores[0]:.4f}."
        )
    low, _ = metrics.intervals.get("accuracy", (np.nan, np.nan))
    if low <= 0.5:
        found.append(f"Accuracy {metrics.means['accuracy']:.4f} cannot be told from guessing, 0.5.")
    if metrics.calibration.slope <= 0:
        found.append("Same pairs are not more similar than different ones: no threshold helps.")
    if metrics.scores.people < _FEW_PEOPLE:
        found.append(
            f"Only {metrics.scores.people} {unit}: the intervals are rough, and mostly too narrow."
        )
    if metrics.measurable and "TAR" not in " ".join(metrics.intervals):
        found.append("There are too many pairs for intervals of TAR.")
    return found


def _nested(metrics: VerificationMetrics, values: dict[str, Any]) -> dict[str, Any]:
    """Nests values by the names of `VerificationMetrics.means` as JSON has them."""
    by_far = {far_name(far).partition("=")[2]: values.get(far_name(far)) for far in metrics.fars}
    return {"accuracy": values.get("accuracy"), "tar_at_far": by_far}


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
