"""Private parts of Keras: no other module touches them.

An upgrade of Keras may change them without a word. Each one is in `PRIVATE`, against which a test
compares the Keras that is installed; what they are used by has a public name below.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import tensorflow as tf

#: Private parts by the public class that has them: the parameters of a method, or `None` for an
#: attribute of a built object.
PRIVATE: dict[str, dict[str, tuple[str, ...] | None]] = {
    "keras.layers.Layer": {"_flatten_layers": ("include_self", "recursive")},
    "keras.Model": {
        "_maybe_symbolic_build": ("iterator", "data_batch"),
        "_resolve_auto_jit_compile": (),
        "_compile_metrics": None,
        "_distribute_strategy": None,
    },
    "keras.optimizers.Optimizer": {
        "_backend_apply_gradients": ("grads", "trainable_variables"),
        "_apply_weight_decay": ("variables",),
        "_clip_gradients": ("grads",),
        "_all_reduce_sum_gradients": ("grads_and_vars",),
        "_get_variable_index": ("variable",),
        "_iterations": None,
        "_trainable_variables": None,
        "_model_variables_moving_average": None,
    },
    "keras.optimizers.LossScaleOptimizer": {"_stateful_handle_non_finite_grads": ()},
}
#: What Keras hands to `_maybe_symbolic_build` in `fit`, and the parts of it that are read.
EPOCH_ITERATOR = ("steps_per_epoch", "num_batches", "data_adapter")


def all_layers(model: keras.Layer, *, include_self: bool = True) -> list[keras.Layer]:
    """Lists the layers of a model, those of models within it too, each once.

    Args:
        model: A model or layer.
        include_self: Whether it is the first of them.

    Returns:
        The layers.
    """
    return model._flatten_layers(include_self=include_self)


def moving_averages(optimizer: Any) -> dict[int, Any]:
    """Returns the averages that an optimiser with `use_ema` keeps.

    Args:
        optimizer: The optimiser, built.

    Returns:
        The average of each variable, by the variable's `id`.
    """
    return {
        id(variable): average
        for variable, average in zip(
            optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True
        )
    }


def yields_for_ever(iterator: Any) -> bool:
    """Tells whether what Keras iterates over has neither an end nor a number of steps.

    Args:
        iterator: What `TrainerHooks.build_before_fit` is given.

    Returns:
        Whether `fit` would never end an epoch.
    """
    if iterator is None or iterator.steps_per_epoch or iterator.num_batches:
        return False
    batches = iterator.data_adapter.get_tf_dataset()
    return (
        isinstance(batches, tf.data.Dataset)
        and batches.cardinality() == tf.data.INFINITE_CARDINALITY
    )


if TYPE_CHECKING:
    _Optimizer: TypeAlias = keras.optimizers.Optimizer
    _LossScaleOptimizer: TypeAlias = keras.optimizers.LossScaleOptimizer
    _Model: TypeAlias = keras.Model
else:
    _Optimizer = _LossScaleOptimizer = _Model = object


class OptimizerHooks(_Optimizer):
    """Gives the inner steps of a Keras optimiser names to override; stands before its class.

    Each method does what Keras does, unless a subclass overrides it.
    """

    @property
    def updated_variables(self) -> list[Any]:
        """The variables that the optimiser was built for."""
        return self._trainable_variables

    @property
    def steps(self) -> Any:
        """Steps that were made, those that only accumulated gradients too."""
        return self._iterations

    def place_of(self, variable: Any) -> int:
        """Returns the place of a variable among `updated_variables`."""
        return self._get_variable_index(variable)

    def update_variables(self, gradients: Any, variables: Any) -> None:
        """Updates variables by their gradients: the whole of a step."""
        super()._backend_apply_gradients(gradients, variables)

    def decay_weights(self, variables: Sequence[Any]) -> None:
        """Subtracts the decoupled weight decay."""
        super()._apply_weight_decay(variables)

    def clip_gradients(self, gradients: Sequence[Any]) -> Sequence[Any]:
        """Clips the gradients of one replica."""
        return super()._clip_gradients(gradients)

    def add_up_gradients(self, gradients_and_variables: Sequence[Any]) -> list[Any]:
        """Adds up the gradients of all replicas."""
        return super()._all_reduce_sum_gradients(gradients_and_variables)

    def _backend_apply_gradients(self, grads: Any, trainable_variables: Any) -> None:
        self.update_variables(grads, trainable_variables)

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        self.decay_weights(variables)

    def _clip_gradients(self, grads: Sequence[Any]) -> Sequence[Any]:
        return self.clip_gradients(grads)

    def _all_reduce_sum_gradients(self, grads_and_vars: Sequence[Any]) -> list[Any]:
        return self.add_up_gradients(grads_and_vars)


class LossScaleHooks(_LossScaleOptimizer):
    """Gives a step that overflows a name to override; stands before the Keras optimiser."""

    def skip_step(self) -> None:
        """Lowers the scale in place of making the step."""
        super()._stateful_handle_non_finite_grads()

    def _stateful_handle_non_finite_grads(self) -> None:
        self.skip_step()


class TrainerHooks(_Model):
    """Gives what `fit` does before its first step names to override; stands before `keras.Model`.

    Each method does what Keras does, unless a subclass overrides it.
    """

    @property
    def compiled_metrics_are_unbuilt(self) -> bool:
        """Whether metrics were given to `compile`, and have seen no batch yet."""
        return self._compile_metrics is not None and not self._compile_metrics.built

    @property
    def own_strategy(self) -> Any:
        """The strategy of `tf.distribute` that the model was made under, or `None`."""
        return self._distribute_strategy

    def build_before_fit(self, iterator: Any, data_batch: Any) -> None:
        """Builds what has no variables yet."""
        super()._maybe_symbolic_build(iterator, data_batch)

    def compiles_by_xla(self) -> bool:
        """Tells what `jit_compile="auto"` means."""
        return super()._resolve_auto_jit_compile()

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        self.build_before_fit(iterator, data_batch)

    def _resolve_auto_jit_compile(self) -> bool:
        return self.compiles_by_xla()
