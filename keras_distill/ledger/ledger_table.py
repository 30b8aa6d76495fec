"""The ledger as a table on the console."""

from typing import TYPE_CHECKING

from keras_distill.ledger.ledger import Change, Ledger
from keras_distill.retrieval.metric_figures import MEANING

if TYPE_CHECKING:
    from rich.table import Table


def ledger_table(title: str, ledger: Ledger, over: str = "queries") -> "Table":
    """Puts the steps below each other: the chain, what it loses in all, and the branches.

    Args:
        title: Heading of the table.
        ledger: The steps.
        over: What is resampled for the intervals, `queries` or `classes`.

    Returns:
        The table, each value with its 95 % interval.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    first = next(iter(ledger.steps[0].metrics.means))
    table = Table(
        title=escape(title),
        caption=_caption(ledger, over),
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", overflow="fold")  # names of files are long, and must differ
    for heading in (first, "change", "MAP@R", "MB", "ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for number, (step, changes) in enumerate(zip(ledger.steps, ledger.changes, strict=True)):
        low, high = step.metrics.intervals_over[over][first]
        table.add_row(
            escape(step.name),
            f"{step.metrics.means[first]:.4f} [{low:.3f}, {high:.3f}]",
            "" if changes is None else _change(changes[first], over),
            f"{step.metrics.map_at_r:.4f}",
            _number(step.cost.get("megabytes")),
            _number(step.cost.get("milliseconds")),
        )
        if number == ledger.last > 0:
            table.add_section()
            table.add_row("in all", "", _change(ledger.total[first], over), "", "", "")
            table.add_section()
    return table


def _caption(ledger: Ledger, over: str) -> str:
    said = [f"in brackets: 95 % interval over {over}: {MEANING[over]}; * beyond it"]
    branches = zip(ledger.before[ledger.last + 1 :], ledger.steps[ledger.last + 1 :], strict=True)
    origins = dict.fromkeys(
        ledger.steps[before].name for before, _ in branches if before is not None
    )
    said += [f"other formats are compared with the {name}" for name in origins]
    timed = dict.fromkeys(step.cost.get("timed_in") for step in ledger.steps)
    if len(runtimes := [name for name in timed if name]) > 1:
        said.append(f"ms in {', '.join(runtimes)}: only those of one runtime are comparable")
    return "; ".join(said)


def _change(change: Change, over: str) -> str:
    low, high = change.intervals[over]
    return (
        f"{change.value:+.4f} [{low:+.3f}, {high:+.3f}]{'*' if change.beyond_noise(over) else ' '}"
    )


def _number(value: float | None) -> str:
    """Two decimals, more where the value would vanish."""
    return "" if value is None else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"
