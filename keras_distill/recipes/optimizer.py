"""Optimiser that the settings describe."""

from typing import Any

from keras_distill.methods.distiller import Distiller
from keras_distill.settings.distill import DistillSettings
from keras_distill.settings.optimizer import drops_of, steps_of
from keras_distill.training.layerwise_optimizers import LayerwiseAdam, multipliers_by_variable
from keras_distill.training.optimizer import build_optimizer


def build_optimizer_of(
    settings: DistillSettings, distiller: Distiller, steps_per_epoch: int
) -> LayerwiseAdam:
    """Builds the optimiser.

    Args:
        settings: The settings.
        distiller: The model that it trains, whose student has its backbone in the layer `trunk`.
        steps_per_epoch: Steps in an epoch.

    Returns:
        The optimiser.
    """
    backbone = distiller.student.get_layer("trunk")
    options: dict[str, Any] = {}
    if settings.backbone_lr_multiplier != 1:
        options["multipliers"] = multipliers_by_variable(
            distiller, {backbone: settings.backbone_lr_multiplier}, 1.0
        )
    if settings.ema:
        options |= {"use_ema": True, "ema_momentum": settings.ema}
    return build_optimizer(
        learning_rate=settings.learning_rate,
        schedule=settings.schedule,
        steps=settings.epochs * steps_per_epoch,
        warmup_steps=steps_of("warmup_steps", settings.warmup_steps, steps_per_epoch),
        drops=drops_of(settings, steps_per_epoch),
        drop_factor=settings.schedule_factor,
        weight_decay=settings.weight_decay,
        global_clipnorm=settings.clip_norm or None,
        measure_gradients=settings.gradient_norm,
        count_updates=settings.freeze_epochs > 0,
        decay_matrices_only=settings.decay_matrices_only,
        **options,
    )
