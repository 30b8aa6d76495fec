"""Report of each epoch: progress on the console, and a line of metrics."""

import time
from collections.abc import Collection
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from keras_distill.methods.optimizers import optimizers_of, value_name
from keras_distill.runs.directory import RunDirectory
from keras_distill.training.collapse_monitor import CollapseMonitor


class EpochReport(keras.callbacks.Callback):
    """Shows a progress bar on a terminal, prints one line an epoch, and writes `metrics.jsonl`.

    Args:
        run: Run directory, for `metrics.jsonl`.
        console: Console to print to.
        epochs: Number of epochs.
        steps_per_epoch: Steps in an epoch.
        batch_size: Images in a step.
        monitor: A callback whose values are printed only if something is wrong.
        hidden: Names of further values that are not printed.

    Attributes:
        record: Record of the last epoch, as written.
    """

    def __init__(
        self,
        run: RunDirectory,
        console: Console,
        *,
        epochs: int,
        steps_per_epoch: int,
        batch_size: int,
        monitor: CollapseMonitor | None = None,
        hidden: Collection[str] = (),
    ):
        super().__init__()
        self._run = run
        self._console = console
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._batch_size = batch_size
        self._monitor = monitor
        self._hidden = {*hidden, *(monitor.names if monitor is not None else ())}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._begun = self._epoch_begun = self._epoch_seconds = 0.0
        self.training_seconds = 0.0  # without validation and checkpoints
        self._epoch = 0
        self.record: dict[str, Any] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        total = self._epochs * self._steps_per_epoch
        self._task = self._progress.add_task("epoch 1", total=total, status="")
        self._progress.start()
        self._begun = time.perf_counter()
        self._epoch_seconds = self.training_seconds = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._progress.update(self._task, description=f"epoch {epoch + 1}/{self._epochs}")
        self._epoch = epoch
        # The time of steps that an earlier process made in this epoch counts too.
        self._epoch_begun = time.perf_counter() - self._epoch_seconds

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch_seconds = time.perf_counter() - self._epoch_begun
        rate = (batch + 1) * self._batch_size / self._epoch_seconds
        status = f"{rate:.0f} images/s  loss {(logs or {}).get('loss', float('nan')):.4f}"
        step = self._epoch * self._steps_per_epoch + batch + 1
        self._progress.update(self._task, completed=step, status=status)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = dict(logs or {})
        optimizers = optimizers_of(self.model)
        learning_rates = {
            value_name("learning_rate", name): float(keras.ops.convert_to_numpy(each.learning_rate))
            for name, each in optimizers.items()
        }
        hidden = {value_name(name, each) for name in self._hidden for each in ("", *optimizers)}
        rate = self._steps_per_epoch * self._batch_size / self._epoch_seconds
        self.training_seconds += self._epoch_seconds
        self._epoch_seconds = 0.0
        elapsed = self.seconds
        left = elapsed / (epoch + 1) * (self._epochs - epoch - 1)
        values = "  ".join(
            f"{name} {value}" if isinstance(value, int) else f"{name} {value:.4f}"
            for name, value in _total_first(logs).items()
            if name not in hidden
        )
        note = self._monitor.note if self._monitor is not None else ""
        self._console.print(
            f"epoch {epoch + 1}/{self._epochs}  {values}  {rate:.0f} images/s  "
            f"{_minutes(left)} left" + (f"  {note}" if note else ""),
            highlight=False,
            soft_wrap=True,
        )
        self.record = {
            "epoch": epoch + 1,
            "step": (epoch + 1) * self._steps_per_epoch,
            **_total_first(logs),
            **learning_rates,
            "images_per_second": round(rate, 1),
            "seconds": round(elapsed, 2),
        }
        self._run.append_metrics(self.record)

    @property
    def seconds(self) -> float:
        """Seconds since the training began, without the time in which no process trained."""
        return time.perf_counter() - self._begun

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` takes; see `ResumableCallbacks`."""
        return {
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
            "epoch_seconds": self._epoch_seconds,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Resumes from an earlier state."""
        self._begun = time.perf_counter() - state["seconds"]
        self.training_seconds = state["training_seconds"]
        self._epoch_seconds = state["epoch_seconds"]

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.stop()

    def stop(self) -> None:
        """Removes the progress bar, also after an error."""
        self._progress.stop()


def _total_first(logs: dict[str, float]) -> dict[str, float]:
    return {name: logs[name] for name in sorted(logs, key=lambda name: (name != "loss", name))}


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
