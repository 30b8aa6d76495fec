"""Stopping a training that has diverged."""

import math
from typing import Any

import keras


class TrainingDiverged(RuntimeError):
    """A loss became NaN or infinite."""


class DivergenceGuard(keras.callbacks.Callback):
    """Raises `TrainingDiverged` after the first step whose loss is NaN or infinite.

    `keras.callbacks.TerminateOnNaN` only stops, and what stopped looks finished.
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        broken = [name for name, value in (logs or {}).items() if not math.isfinite(value)]
        if broken:
            raise TrainingDiverged(
                f"{', '.join(sorted(broken))} became NaN or infinite in epoch {self._epoch + 1}, "
                f"step {batch + 1}. Try a lower --learning_rate or a --warmup_steps."
            )
