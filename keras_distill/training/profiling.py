"""Profiling of a range of training steps."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf


class Profiling(keras.callbacks.Callback):
    """Profiles a range of steps with `tf.profiler`, into TensorBoard's folder.

    Args:
        folder: The folder; the profile goes to `plugins/profile/` below.
        steps: The steps, counted from 1.
        steps_per_epoch: Steps in an epoch.
    """

    def __init__(self, folder: str | Path, steps: range, steps_per_epoch: int):
        super().__init__()
        self._folder = str(folder)
        self._steps = steps
        self._steps_per_epoch = steps_per_epoch
        self._epoch = 0
        self._runs = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._runs and self._epoch * self._steps_per_epoch + batch + 1 in self._steps:
            tf.profiler.experimental.start(self._folder)
            self._runs = True

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self._epoch * self._steps_per_epoch + batch + 1 >= self._steps[-1]:
            self.stop()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the profile, if it has begun."""
        if self._runs:
            self._runs = False
            tf.profiler.experimental.stop()
