"""Ledger as a table for the console."""

from typing import TYPE_CHECKING

from keras_distill.evaluation.metric_figures import MEANING
from keras_distill.evaluation.metric_tables import plain_table
from keras_distill.ledger.ledger import Change, Ledger

if TYPE_CHECKING:
    from rich.table import Table


def ledger_table(title: str, ledger: Ledger, over: str = "queries") -> "Table":
    """Lists the stages: the chain, its total change, and the branches.

    Args:
        title: Heading of the table.
        ledger: The ledger.
        over: Unit that is resampled for the intervals, `queries` or `classes`.

    Returns:
        The table, each value with its 95 % interval.
    """
    from rich.markup import escape

    first = next(iter(ledger.stages[0].metrics.means))
    table = plain_table(title, f"in brackets: 95 % interval over {over}; * beyond it")
    table.add_column("", overflow="fold")  # names of files are long, and must differ
    for heading in (first, "change", "MAP@R", "MB", "ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for number, (stage, changes) in enumerate(zip(ledger.stages, ledger.changes, strict=True)):
        low, high = stage.metrics.intervals_over[over][first]
        table.add_row(
            escape(stage.name),
            f"{stage.metrics.means[first]:.4f} [{low:.3f}, {high:.3f}]",
            "" if changes is None else _change(changes[first], over),
            f"{stage.metrics.map_at_r:.4f}",
            _number(stage.cost.get("megabytes")),
            _number(stage.cost.get("milliseconds")),
        )
        if number == ledger.last > 0:
            table.add_section()
            table.add_row("total", "", _change(ledger.total[first], over), "", "", "")
            table.add_section()
    return table


def ledger_notes(ledger: Ledger, over: str = "queries") -> list[str]:
    """Returns notes on the table.

    Args:
        ledger: The ledger.
        over: Unit that is resampled for the intervals, `queries` or `classes`.

    Returns:
        Sentences.
    """
    notes = [f"Intervals over {over} show {MEANING[over]}."]
    for number, stage in enumerate(ledger.stages[1:], 1):
        before = ledger.stages[ledger.before[number] or 0]
        is_index = stage.vectors is before.vectors
        if before.cost.get("mirror") and not (is_index or stage.cost.get("mirror")):
            notes.append(
                f"The {stage.name} does not average mirror images, as the stage before it does: "
                "export it by `export --mirror`."
            )
    origins = dict.fromkeys(before for before in ledger.before[ledger.last + 1 :])
    notes += [
        f"Other formats are compared with the {ledger.stages[before].name} they were made from."
        for before in origins
        if before is not None
    ]
    timed = dict.fromkeys(stage.cost.get("timed_in") for stage in ledger.stages)
    if len(runtimes := [name for name in timed if name]) > 1:
        notes.append(f"ms in {', '.join(runtimes)}: only times in the same runtime are comparable.")
    return notes


def _change(change: Change, over: str) -> str:
    low, high = change.intervals[over]
    return (
        f"{change.value:+.4f} [{low:+.3f}, {high:+.3f}]{'*' if change.beyond_noise(over) else ' '}"
    )


def _number(value: float | None) -> str:
    """Two decimals, more where the value would vanish."""
    return "" if value is None else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"
