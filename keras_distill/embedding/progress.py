"""Progress of a bulk embedding: pictures, pictures a second, time left."""

import time
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class EmbeddingProgress:
    """Progress bar on a terminal; elsewhere, as in the log of a cluster, one line for each shard.

    Args:
        console: Where it is shown.
        total: Pictures to embed.
    """

    def __init__(self, console: Console, total: int):
        self._console = console
        self._bar = Progress(
            TextColumn("embedding"),
            BarColumn(),
            MofNCompleteColumn(),
            _Speed(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._left = total
        self._task = self._bar.add_task("embedding", total=total)
        self._embedded = 0
        self._begun = time.perf_counter()

    @property
    def speed(self) -> float | None:
        """Pictures a second that this process has embedded; `None` if it had none to embed."""
        if not self._embedded:
            return None
        return round(self._embedded / (time.perf_counter() - self._begun), 1)

    def embedded(self, rows: int) -> None:
        """Counts pictures that this process has embedded."""
        self._embedded += rows
        self.found(rows)

    def found(self, rows: int) -> None:
        """Counts pictures that are done, by whichever process."""
        self._left -= rows
        self._bar.advance(self._task, rows)

    def shard_done(self, shard: int, count: int, errors: int) -> None:
        """Prints a line about a shard that is written, unless a bar shows the progress.

        Args:
            shard: Number of the shard, from 0 on.
            count: Number of all shards.
            errors: Pictures of the shard that could not be embedded.
        """
        if not self._console.is_terminal and self.speed:
            left = timedelta(seconds=round(self._left / self.speed))
            unreadable = f", {errors} pictures in errors.jsonl" if errors else ""
            self._console.print(
                f"shard {shard + 1} of {count}: {self.speed} images/s, {left} left{unreadable}",
                highlight=False,
                soft_wrap=True,
            )

    def __enter__(self) -> "EmbeddingProgress":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.0f} images/s" if speed else "")
