"""Keeping the student of the last and of the best epoch."""

from pathlib import Path
from typing import Any

import keras

from keras_distill.publishing import published_file


class StudentCheckpoint(keras.callbacks.Callback):
    """Saves the student every few epochs, and once more if a value is the highest so far.

    A file is replaced only by a complete one.

    Args:
        student: The model to save.
        last: Path of the `.keras` file of the last epoch.
        best: Path of the `.keras` file of the best epoch.
        monitor: Name in the logs of the value to maximise.
        every: Number of epochs from one `last` to the next.
    """

    def __init__(
        self, student: keras.Model, *, last: Path, best: Path, monitor: str, every: int = 1
    ):
        super().__init__()
        self.best_epoch: int | None = None
        self.best_value = float("-inf")
        self._student = student
        self._last = last
        self._best = best
        self._monitor = monitor
        self._every = every

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if (epoch + 1) % self._every == 0:
            save_model(self._student, self._last)
        value = (logs or {}).get(self._monitor)
        if value is not None and value > self.best_value:
            self.best_value, self.best_epoch = value, epoch
            save_model(self._student, self._best)


def save_model(model: keras.Model, path: Path) -> None:
    """Saves a model as a `.keras` file that appears complete or not at all."""
    with published_file(path) as temporary:
        model.save(temporary)
