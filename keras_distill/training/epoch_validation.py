"""Measurement of held-out data at the ends of epochs."""

from collections.abc import Callable
from typing import Any

import keras

from keras_distill.errors import InputError
from keras_distill.training.divergence_guard import TrainingDiverged


class EpochValidation(keras.callbacks.Callback):
    """Adds a figure of held-out data to the logs of an epoch; a subclass measures it.

    Args:
        every: Number of epochs from one evaluation to the next; the last epoch is always evaluated.
        prepare: Called before each evaluation, such as `AveragedStudent.refresh`.
        common: Turns the value that this process measured into the value of all processes, so that
            they make the same decisions.

    Raises:
        InputError: If a number is too small.
    """

    metric: str

    def __init__(
        self,
        *,
        every: int = 1,
        prepare: Callable[[], None] = lambda: None,
        common: Callable[[float], float] = lambda value: value,
    ):
        super().__init__()
        if every < 1:
            raise InputError(f"`every={every}` must be at least 1.")
        self._every = every
        self._prepare = prepare
        self._common = common

    def outputs(self) -> Any:
        """Runs the model over the held-out data; an `InputError` means that it has diverged."""
        raise NotImplementedError

    def value(self, outputs: Any) -> float:
        """Measures what `outputs` returned."""
        raise NotImplementedError

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        last = epoch + 1 == (self.params or {}).get("epochs")
        if logs is None or ((epoch + 1) % self._every and not last):
            return
        self._prepare()
        try:
            outputs = self.outputs()
        except InputError as error:
            raise TrainingDiverged(f"In epoch {epoch + 1}, {error}") from error
        logs[self.metric] = self._common(self.value(outputs))
