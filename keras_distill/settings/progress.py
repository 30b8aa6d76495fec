"""Progress of long work, and the time left."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 30.0


@contextlib.contextmanager
def work_progress(
    title: str, total: int, unit: str, console: Console, *, transient: bool = False
) -> Iterator[Callable[[int], object]]:
    """Shows a bar on a terminal, and elsewhere, such as in a file, a line every half minute.

    Args:
        title: What is being done.
        total: How much there is to do.
        unit: What is counted.
        console: Where it is shown.
        transient: Whether the bar vanishes in the end.

    Yields:
        What to call with the number that has been done since.

    Example:
        >>> with work_progress("teacher", 3, "views", Console()) as advance:  # doctest: +SKIP
        ...     advance(3)
    """
    if not console.is_terminal:
        yield _line_by_line(title, total, unit, console)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        console=console,
        transient=transient,
    ) as progress:
        yield functools.partial(progress.advance, progress.add_task(title, total=total))


def _line_by_line(title: str, total: int, unit: str, console: Console) -> Callable[[int], None]:
    last = time.monotonic()
    done = recent = 0

    def advance(more: int) -> None:
        nonlocal done, last, recent
        done += more
        recent += more
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES and recent:
            # Of the last half minute: work may be paused, or share the machine for a while.
            rate = recent / (now - last)
            left = timedelta(seconds=round((total - done) / rate))
            line = f"{title}: {done} of {total} {unit}, {rate:.0f}/s, {left} left"
            console.print(line, highlight=False, soft_wrap=True)
            last, recent = now, 0

    return advance
