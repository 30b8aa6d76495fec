"""Early stopping that survives a resumed training."""

from collections.abc import Callable
from typing import Any

import keras


class EarlyStopping(keras.callbacks.Callback):
    """Stops after some validations in a row without a better value, and says so.

    `keras.callbacks.EarlyStopping` forgets its state when a training is resumed. It does not choose
    the weights that are kept; `BestEpoch` does.

    Args:
        monitor: Name of the value in the logs; epochs without it do not count.
        patience: Number of validations.
        min_delta: By how much a value must exceed the last better one.
        direction: `"max"` if a higher value is better, else `"min"`.
        say: Called with the message.

    Attributes:
        stopped: The epoch after which it stopped, counted from 1, or `None`.
    """

    def __init__(
        self,
        monitor: str,
        *,
        patience: int,
        min_delta: float = 0.0,
        direction: str = "max",
        say: Callable[[str], object] = print,
    ):
        super().__init__()
        self._monitor = monitor
        self._patience = patience
        self._min_delta = min_delta
        self._sign = 1.0 if direction == "max" else -1.0
        self._say = say
        self._reference: float | None = None
        self._best: tuple[float, int] | None = None  # value and epoch
        self._waited = 0
        self.stopped: int | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        value = (logs or {}).get(self._monitor)
        if value is None:
            return
        value = float(value)
        if self._best is None or self._sign * (value - self._best[0]) > 0:
            self._best = value, epoch + 1
        reference = self._reference
        if reference is None or self._sign * (value - reference) > self._min_delta:
            self._reference, self._waited = value, 0
            return
        self._waited += 1
        if self._waited < self._patience:
            return
        self.stopped = epoch + 1
        self.model.stop_training = True
        best, best_epoch = self._best
        moved = "risen" if self._sign > 0 else "fallen"
        more = f" by more than {self._min_delta:g}" if self._min_delta else ""
        self._say(
            f"Stopping after epoch {epoch + 1}: {self._monitor} has not {moved}{more} in the last "
            f"{self._patience} validations. The best epoch, {best_epoch}, is kept ({best:.4f})."
        )

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` takes; see `ResumableCallbacks`."""
        return {
            "reference": self._reference,
            "best": self._best,
            "waited": self._waited,
            "stopped": self.stopped,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Resumes from an earlier state."""
        self._reference, self._waited = state["reference"], state["waited"]
        self._best = None if state["best"] is None else (state["best"][0], state["best"][1])
        self.stopped = state["stopped"]
