"""Loss scaling for float16 that counts the steps it skips, on all replicas alike."""

from typing import Any

import keras
import tensorflow as tf

from keras_distill.methods.optimizers import optimizers_of
from keras_distill.models.keras_internals import LossScaleHooks


@keras.saving.register_keras_serializable("keras_distill")
class CountingLossScale(LossScaleHooks, keras.optimizers.LossScaleOptimizer):
    """Keras' dynamic loss scaling, which also counts the steps that it skips.

    With several replicas it checks all of them: Keras checks the gradients of one before they are
    added up, and an overflow elsewhere would enter the weights, or let the workers diverge.

    Args:
        inner_optimizer: The optimiser that makes the steps.
        **kwargs: As of `keras.optimizers.LossScaleOptimizer`.

    Attributes:
        skipped_steps: Variable, the number of steps that overflowed.
    """

    def build(self, var_list: list[Any]) -> None:
        """Creates the variables."""
        if self.built:
            return
        self.skipped_steps = self.add_variable(
            shape=(), dtype="int", initializer="zeros", name="skipped_steps"
        )
        super().build(var_list)

    def check_finite(self, grads: list[Any]) -> Any:
        """Whether the gradients of all replicas are finite."""
        finite = super().check_finite(grads)
        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return finite
        overflows = 1.0 - tf.cast(finite, tf.float32)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, overflows) == 0.0

    def skip_step(self) -> None:
        """Lowers the scale, and counts."""
        super().skip_step()
        self.skipped_steps.assign_add(1)


class SkippedSteps(keras.callbacks.Callback):
    """Adds `skipped_steps` to the logs of an epoch: the number of steps that have overflowed.

    It adds nothing if losses are not scaled. Put it before callbacks that read the logs.
    """

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        counting = [
            optimizer
            for optimizer in optimizers_of(self.model).values()
            if isinstance(optimizer, CountingLossScale)
        ]
        if logs is not None and counting:
            skipped = (keras.ops.convert_to_numpy(each.skipped_steps) for each in counting)
            logs["skipped_steps"] = sum(map(int, skipped))
