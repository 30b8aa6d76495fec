"""Optimiser that the settings describe."""

from typing import Any

import keras

from keras_distill.methods.method import Method
from keras_distill.models.fused_batch_norm import synchronize_batch_norm
from keras_distill.models.pooled_features import find_backbone
from keras_distill.settings.optimizer import drops_of, steps_of
from keras_distill.settings.training import TrainSettings
from keras_distill.training.layerwise_optimizers import LayerwiseAdam, multipliers_by_variable
from keras_distill.training.optimizer import add_l2_penalty, build_optimizer


def build_optimizer_of(
    settings: TrainSettings, method: Method, steps_per_epoch: int
) -> LayerwiseAdam:
    """Builds the optimiser.

    Args:
        settings: The settings.
        method: The model that it trains, whose product has its backbone in a layer `trunk`.
        steps_per_epoch: Steps in an epoch.

    Returns:
        The optimiser.
    """
    options: dict[str, Any] = {}
    if settings.backbone_lr_multiplier != 1:
        backbone = find_backbone(method.get_product())
        options["multipliers"] = multipliers_by_variable(
            method, {backbone: settings.backbone_lr_multiplier}, 1.0
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


def compile_method(settings: TrainSettings, method: Method, steps_per_epoch: int) -> None:
    """Compiles a model with the optimiser that the settings describe.

    Args:
        settings: The settings.
        method: The model; see `build_optimizer_of`.
        steps_per_epoch: Steps in an epoch.
    """
    method.compile(
        build_optimizer_of(settings, method, steps_per_epoch), jit_compile=settings.jit_compile
    )
    if settings.sync_batch_norm:
        synchronize_batch_norm(method)
    # Before the first step, which would otherwise be traced twice.
    method.optimizer.build(method.trainable_variables)


def add_penalty(settings: TrainSettings, model: keras.Model) -> None:
    """Adds the L2 penalty that the settings describe, if any, to a model; see `add_l2_penalty`.

    Args:
        settings: The settings.
        model: The model, before it is compiled.
    """
    if settings.l2:
        add_l2_penalty(model, settings.l2, matrices_only=settings.decay_matrices_only)
