"""Optimiser, its learning-rate schedule, and the L2 penalty."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_distill.errors import InputError
from keras_distill.training.layerwise_optimizers import LayerwiseAdam, is_matrix
from keras_distill.training.one_cycle import OneCycle
from keras_distill.training.step_decay import StepDecay


def build_optimizer(
    *,
    learning_rate: float,
    schedule: str = "constant",
    steps: int,
    warmup_steps: int = 0,
    drops: Sequence[int] = (),
    drop_factor: float = 0.1,
    weight_decay: float = 0.0,
    **options: Any,
) -> LayerwiseAdam:
    """Builds Adam with a learning-rate schedule.

    Args:
        learning_rate: Highest learning rate.
        schedule: `"constant"`, `"cosine"` to fall to 0 at the last step, `"step"` to fall at
            `drops`, or `"one_cycle"`; see `OneCycle`.
        steps: Steps of the whole training.
        warmup_steps: Steps in which the learning rate first rises linearly from 0; for
            `"one_cycle"`, the steps in which it rises, by default 3 of 10.
        drops: For `"step"`, the steps at which the learning rate falls.
        drop_factor: For `"step"`, the factor by which it falls each time.
        weight_decay: Decoupled weight decay (AdamW) per step, times the learning rate.
        **options: As of `LayerwiseAdam`.

    Returns:
        The optimiser.

    Raises:
        InputError: If `"one_cycle"` would not fall.
        ValueError: If the schedule is unknown.
    """
    rate: float | keras.optimizers.schedules.LearningRateSchedule = learning_rate
    if schedule == "step":
        rate = StepDecay(learning_rate, drops, drop_factor, warmup_steps)
    elif schedule == "one_cycle":
        if warmup_steps >= steps:
            raise InputError(
                f"`warmup_steps={warmup_steps}` must be below the {steps} steps of the training: "
                "one_cycle rises in them, and falls in the others."
            )
        rise = {"rise": warmup_steps / steps} if warmup_steps else {}
        rate = OneCycle(learning_rate, steps, **rise)
    elif schedule not in ("constant", "cosine"):
        raise ValueError(
            f"`schedule={schedule!r}` is none of 'constant', 'cosine', 'step', 'one_cycle'."
        )
    elif schedule == "cosine" or warmup_steps:
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup_steps else learning_rate,
            max(steps - warmup_steps, 1),
            alpha=0.0 if schedule == "cosine" else 1.0,
            warmup_target=learning_rate if warmup_steps else None,
            warmup_steps=warmup_steps,
        )
    return LayerwiseAdam(rate, weight_decay=weight_decay or None, **options)


def add_l2_penalty(model: keras.Model, factor: float, *, matrices_only: bool = False) -> None:
    """Adds `factor / 2 * |w|^2` of every trainable weight to the loss.

    This is what PyTorch's Adam calls `weight_decay`, which the paper's code sets to 2e-4: its
    gradient passes through Adam's scaling, unlike that of decoupled weight decay.

    Args:
        model: The model, changed in place.
        factor: Each weight, times this, is added to its gradient.
        matrices_only: Whether biases and the factors of normalisations are left out.
    """
    for weight in model.trainable_weights:
        if is_matrix(weight) or not matrices_only:
            weight.regularizer = keras.regularizers.L2(factor / 2)
