"""Base class of the task losses that wrap another one."""

from typing import Any, Self

import keras

from keras_distill.losses.task_loss import TaskLoss


class WrappedLoss(TaskLoss):
    """Base class of the losses that change what another task loss compares.

    Args:
        loss: The loss that is wrapped.
        name: Name under which the value is reported; by default the name of `loss`.
    """

    def __init__(self, loss: TaskLoss, name: str | None = None):
        super().__init__(name=name or loss.name)
        self.loss = loss

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "loss": keras.saving.serialize_keras_object(self.loss)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Rebuilds the loss from `get_config()`, with new variables if it has any."""
        loss = keras.saving.deserialize_keras_object(config["loss"])
        return cls(**{**config, "loss": loss})
