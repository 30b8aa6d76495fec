"""Guard that stops a training that has diverged."""

import math
from typing import Any

import keras
import numpy as np


class TrainingDiverged(RuntimeError):
    """A loss or a weight became NaN or infinite."""


class DivergenceGuard(keras.callbacks.Callback):
    """Raises `TrainingDiverged` after a step whose loss, or an epoch whose weights, are not finite.

    `keras.callbacks.TerminateOnNaN` only stops, and the training then looks finished.
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        broken = [name for name, value in (logs or {}).items() if not math.isfinite(value)]
        if broken:
            self._stop(", ".join(sorted(broken)), f", step {batch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # The last step may have ruined the weights, which only the next loss would show.
        if not all(np.isfinite(weight).all() for weight in self.model.get_weights()):
            self._stop("weights", "")

    def _stop(self, broken: str, step: str) -> None:
        raise TrainingDiverged(
            f"{broken} became NaN or infinite in epoch {self._epoch + 1}{step}. Try a lower "
            "`learning_rate`, `global_clipnorm`, or `warmup_steps`."
        )
