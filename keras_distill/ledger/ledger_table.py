"""The ledger as a table on the console."""

from typing import TYPE_CHECKING

from keras_distill.ledger.ledger import Change, Ledger

if TYPE_CHECKING:
    from rich.table import Table


def ledger_table(title: str, ledger: Ledger) -> "Table":
    """Puts the steps below each other.

    Args:
        title: Heading of the table.
        ledger: The steps.

    Returns:
        The table, each value with its 95 % interval.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    first = next(iter(ledger.steps[0].metrics.means))
    table = Table(
        title=escape(title),
        caption="in brackets: 95 % interval over queries; * beyond it",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", overflow="fold")  # names of files are long, and must differ
    for heading in (first, "change", "MAP@R", "MB", "ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    changes = [None, *(changes[first] for changes in ledger.changes)]
    for step, change in zip(ledger.steps, changes, strict=True):
        low, high = step.metrics.intervals[first]
        cost = step.cost
        table.add_row(
            escape(step.name),
            f"{step.metrics.means[first]:.4f} [{low:.3f}, {high:.3f}]",
            "" if change is None else _change(change),
            f"{step.metrics.map_at_r:.4f}",
            _number(cost.get("megabytes"), "{:.2f}"),
            _number(cost.get("milliseconds"), "{:.1f}"),
        )
    if len(ledger.steps) > 1:
        table.add_section()
        table.add_row("in all", "", _change(ledger.total[first]), "", "", "")
    return table


def _change(change: Change) -> str:
    mark = "*" if change.beyond_noise else " "
    return f"{change.value:+.4f} [{change.low:+.3f}, {change.high:+.3f}]{mark}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
