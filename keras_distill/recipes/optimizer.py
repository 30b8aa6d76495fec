"""The optimiser that the flags describe."""

from typing import Any

from keras_distill.methods.distiller import Distiller
from keras_distill.settings.optimizer import drops_of, steps_of
from keras_distill.training.optimizer import build_optimizer
from keras_distill.training.rated_optimizers import RatedAdam, by_variable


def build_flagged_optimizer(flags: Any, distiller: Distiller, steps_per_epoch: int) -> RatedAdam:
    """Builds the optimiser.

    Args:
        flags: The parsed flags; see `define_schedule_flags`.
        distiller: The model that it will train, with a layer `trunk` in the student.
        steps_per_epoch: Steps in an epoch.

    Returns:
        The optimiser.
    """
    trunk = distiller.student.get_layer("trunk")
    options: dict[str, Any] = {}
    if flags.trunk_rate != 1:
        options["rates"] = by_variable(distiller, {trunk: flags.trunk_rate}, 1.0)
    if flags.ema:
        options |= {"use_ema": True, "ema_momentum": flags.ema}
    return build_optimizer(
        learning_rate=flags.learning_rate,
        schedule=flags.schedule,
        steps=flags.epochs * steps_per_epoch,
        warmup_steps=steps_of("warmup_steps", flags.warmup_steps, steps_per_epoch),
        drops=drops_of(flags, steps_per_epoch),
        drop_factor=flags.schedule_factor,
        weight_decay=flags.weight_decay,
        global_clipnorm=flags.clip_norm or None,
        measure_gradients=flags.gradient_norm,
        count_updates=flags.freeze_epochs > 0,
        **options,
    )
