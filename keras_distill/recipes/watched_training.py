"""Averaged weights and gradient norms of a training by `Supervised`, and what is validated."""

import dataclasses
from typing import Any

import keras

from keras_distill.methods.supervised import Supervised
from keras_distill.runs.stage import StageContext, Training
from keras_distill.training.averaged_student import AveragedStudent
from keras_distill.training.gradient_norm import GradientNorm


@dataclasses.dataclass(frozen=True)
class WatchedTraining:
    """A training with what watches it.

    Attributes:
        training: The training, without a validation.
        scored: The model that is validated, with the averaged weights if there are any.
        options: `every`, `prepare` and `common` of an `EpochValidation`.
    """

    training: Training
    scored: keras.Model
    options: dict[str, Any]


def watch_training(
    settings: Any,
    context: StageContext,
    training: Training,
    model: Supervised,
    product: keras.Model,
    few: Any,
) -> WatchedTraining:
    """Adds the method, averaged weights and the norm of the gradients to a training.

    Args:
        settings: The settings, with `ema`, `gradient_norm` and `validate_every`.
        context: The context of the stage.
        training: The training.
        model: The method that trains.
        product: The product of the method.
        few: Batches of its inputs, for the statistics of averaged weights.

    Returns:
        The training, and what a validation of it needs.
    """
    averaged = AveragedStudent(model, product, few) if settings.ema else None
    options: dict[str, Any] = {
        "every": settings.validate_every,
        "common": context.replicas.of_first,
    }
    if averaged is not None:
        options["prepare"] = averaged.refresh
    training = dataclasses.replace(
        training,
        model=model,
        product=averaged or product,
        callbacks=[GradientNorm()] if settings.gradient_norm else [],
    )
    return WatchedTraining(training, product if averaged is None else averaged.student, options)
