"""A Keras model that is whole from the start, trained alone or by several workers."""

from typing import Any

import keras
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.methods.loss_scaling import CountingLossScale


class ReplicatedModel(keras.Model):
    """Base of a model whose variables all exist once it is made.

    It counts the steps that overflow in float16, trains under every strategy of `tf.distribute`,
    and leaves XLA to GPUs.
    """

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: None = None,
        loss_weights: None = None,
        *args: Any,
        auto_scale_loss: bool = True,
        **kwargs: Any,
    ) -> None:
        """Configures the training, as `keras.Model.compile`, without a loss.

        Args:
            optimizer: The optimiser.
            loss: Not used: the model has its losses already.
            loss_weights: Not used, as `loss`.
            *args: As of `keras.Model.compile`.
            auto_scale_loss: Whether the dtype policy mixed_float16 has the loss scaled, by
                `CountingLossScale`.
            **kwargs: As of `keras.Model.compile`.

        Raises:
            InputError: If there is a loss, or no optimiser.
        """
        name = type(self).__name__
        if loss is not None:
            raise InputError(
                f"{name}.compile(loss={loss!r}) would not be used; compile without a loss, and "
                f"give {name} an object as task_loss=..., such as BatchHardTriplet(margin=0.2), or "
                "as teacher_losses=[...], such as AbsoluteTeacher()."
            )
        if loss_weights is not None:
            raise InputError(
                f"{name}.compile(loss_weights={loss_weights!r}) would not be used; give {name} "
                "task_loss_weight=... and teacher_loss_weights=..."
            )
        if optimizer is None or isinstance(optimizer, type | int | float):
            raise InputError(
                f"{name}.compile(optimizer={optimizer!r}) is not an optimizer; give one such as "
                "keras.optimizers.Adam(1e-3), or its name."
            )
        optimizer = keras.optimizers.get(optimizer)
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if auto_scale_loss and self.dtype_policy.name == "mixed_float16" and not scaled:
            optimizer = CountingLossScale(optimizer)
        super().compile(optimizer, None, None, *args, auto_scale_loss=auto_scale_loss, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded model as it was; Keras leaves it to those that override `compile`."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        if iterator is not None and not (iterator.steps_per_epoch or iterator.num_batches):
            batches = iterator.data_adapter.get_tf_dataset()
            if (
                isinstance(batches, tf.data.Dataset)
                and batches.cardinality() == tf.data.INFINITE_CARDINALITY
            ):
                raise InputError(
                    "the batches do not end; give fit steps_per_epoch, and validation_steps if "
                    "those of validation_data do not end, and evaluate steps."
                )
        # All is built, but for metrics given to compile(). For their shapes Keras would average a
        # batch over the replicas, which several workers cannot.
        if self._compile_metrics is not None and not self._compile_metrics.built:
            super()._maybe_symbolic_build(iterator, data_batch)
        elif self._distribute_strategy is not None and not self.optimizer.built:
            with self._distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)

    def _resolve_auto_jit_compile(self) -> bool:
        # XLA makes the step of a MobileNet about ten times slower on CPU; "auto" must not mean it.
        return bool(tf.config.list_physical_devices("GPU")) and super()._resolve_auto_jit_compile()
