"""Learning-rate schedule that falls in steps."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_distill")
class StepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """`rate * factor^n * min(step / warmup_steps, 1)`, after `n` of the drops.

    Args:
        learning_rate: Highest learning rate.
        drops: Steps at which it falls.
        factor: Factor by which it falls each time.
        warmup_steps: Steps in which it first rises linearly from 0.

    Example:
        >>> rate = StepDecay(1.0, drops=[10, 20], factor=0.5)
        >>> [float(rate(step)) for step in (0, 9, 10, 20)]
        [1.0, 1.0, 0.5, 0.25]
    """

    def __init__(
        self,
        learning_rate: float,
        drops: Sequence[int],
        factor: float = 0.1,
        warmup_steps: int = 0,
    ):
        super().__init__()
        self.learning_rate = learning_rate
        self.drops = list(drops)
        self.factor = factor
        self.warmup_steps = warmup_steps

    def __call__(self, step: Any) -> Any:
        """Returns the rate of a step, counted from 0."""
        step = ops.cast(step, "float32")
        drops = ops.convert_to_tensor(self.drops, "float32")
        dropped = ops.sum(ops.cast(step >= drops, "float32"))
        risen = ops.minimum(step / self.warmup_steps, 1.0) if self.warmup_steps else 1.0
        return self.learning_rate * ops.power(self.factor, dropped) * risen

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {
            "learning_rate": self.learning_rate,
            "drops": self.drops,
            "factor": self.factor,
            "warmup_steps": self.warmup_steps,
        }
