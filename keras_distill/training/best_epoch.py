"""Best epoch of a training."""

from typing import Any

import keras


class BestEpoch(keras.callbacks.Callback):
    """Remembers the epoch with the best value of a metric, the first of equal ones.

    Args:
        monitor: Name of the value in the logs.
        direction: `"max"` if a higher value is better, else `"min"`.

    Attributes:
        epoch: The epoch, counted from 0; `None` until there is a value.
        value: Its value.
    """

    def __init__(self, monitor: str, *, direction: str = "max"):
        super().__init__()
        self.monitor = monitor
        self._sign = 1.0 if direction == "max" else -1.0
        self.epoch: int | None = None
        self.value = -self._sign * float("inf")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        value = (logs or {}).get(self.monitor)
        if value is not None and self._sign * value > self._sign * self.value:
            self.epoch, self.value = epoch, float(value)

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` takes; see `ResumableCallbacks`."""
        return {} if self.epoch is None else {"epoch": self.epoch, "value": self.value}

    def set_state(self, state: dict[str, Any]) -> None:
        """Resumes from an earlier state."""
        if state:
            self.epoch, self.value = state["epoch"], state["value"]
