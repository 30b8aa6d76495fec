"""One-cycle learning-rate schedule."""

import math
from typing import Any

import keras
from keras import ops

from keras_distill.errors import InputError


@keras.saving.register_keras_serializable("keras_distill")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Rises to a peak and falls to almost nothing, both along a cosine.

    With `up = rise * steps - 1` and `down = steps - 1 - up`, at step `t` counted from 0:

        start + (peak - start) * (1 - cos(pi * t / up)) / 2          for t <= up
        end + (peak - end) * (1 + cos(pi * (t - up) / down)) / 2     afterwards

    where `start = peak / start_divisor` and `end = start / end_divisor`. This is `OneCycleLR` of
    PyTorch in two phases with its default cosine; the momentum stays as it is. The rate stays at
    `end` after the last step. It is a function of the step alone, so that a resumed training goes
    through the same rates.

    Args:
        peak: Highest learning rate.
        steps: Steps of the whole training.
        rise: Share of the steps in which it rises, above 0 and below 1.
        start_divisor: The peak divided by the first rate.
        end_divisor: The first rate divided by the last one.

    Raises:
        InputError: If an argument cannot be used.

    Example:
        >>> rate = OneCycle(1.0, steps=11, rise=0.5, start_divisor=10, end_divisor=100)
        >>> [round(float(rate(step)), 3) for step in (0, 4, 5, 10)]
        [0.1, 0.973, 0.98, 0.001]
    """

    def __init__(
        self,
        peak: float,
        steps: int,
        rise: float = 0.3,
        start_divisor: float = 25.0,
        end_divisor: float = 1e4,
    ):
        super().__init__()
        if steps < 1:
            raise InputError(f"`steps={steps}` must be positive.")
        if not 0 < rise < 1:
            raise InputError(f"`rise={rise}` must be above 0 and below 1, such as 0.3.")
        for argument, value in (("start_divisor", start_divisor), ("end_divisor", end_divisor)):
            if not value > 0:
                raise InputError(f"`{argument}={value}` must be positive.")
        self.peak = peak
        self.steps = steps
        self.rise = rise
        self.start_divisor = start_divisor
        self.end_divisor = end_divisor

    def __call__(self, step: Any) -> Any:
        """Returns the rate of a step, counted from 0."""
        step = ops.cast(step, "float32")
        start = self.peak / self.start_divisor
        end = start / self.end_divisor
        up = self.rise * self.steps - 1
        down = max(self.steps - 1 - up, 1e-9)
        fallen = ops.clip((step - up) / down, 0.0, 1.0)
        falling = end + (self.peak - end) / 2 * (1 + ops.cos(math.pi * fallen))
        if up <= 0:  # a training of a few steps begins at its peak
            return falling
        risen = ops.clip(step / up, 0.0, 1.0)
        rising = start + (self.peak - start) / 2 * (1 - ops.cos(math.pi * risen))
        return ops.where(step <= up, rising, falling)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        names = ("peak", "steps", "rise", "start_divisor", "end_divisor")
        return {name: getattr(self, name) for name in names}
