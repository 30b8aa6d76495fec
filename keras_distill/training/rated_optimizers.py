"""Optimisers in which each variable has a rate, and a first step, of its own."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import tensorflow as tf


def by_variable(model: keras.Model, values: Mapping[keras.Layer, Any], default: Any) -> list[Any]:
    """Lists what holds for each trainable variable of a model, such as its rate.

    Args:
        model: The model that will be compiled, with nothing frozen.
        values: What holds for the variables of a layer, or of a model within the model.
        default: What holds for all others.

    Returns:
        The values, in the order of `model.trainable_variables`.
    """
    known = {id(v): value for layer, value in values.items() for v in layer.trainable_variables}
    return [known.get(id(variable), default) for variable in model.trainable_variables]


if TYPE_CHECKING:
    _Optimizer: TypeAlias = keras.optimizers.Optimizer
else:
    _Optimizer = object


class _Rated(_Optimizer):
    """What the optimisers of this file share; stands before the Keras optimiser."""

    weight_decay: float | None
    _begun_before = 0  # updates before the first one of the variable in hand

    def __init__(
        self,
        *args: Any,
        rates: Sequence[float] | None = None,
        first_steps: Sequence[int] | None = None,
        measure_gradients: bool = False,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.rates = None if rates is None else tuple(map(float, rates))
        self.first_steps = None if first_steps is None else tuple(map(int, first_steps))
        self.measure_gradients = measure_gradients

    def build(self, variables: Sequence[Any]) -> None:
        """Makes the variables of the optimiser."""
        if self.built:
            return
        for name in ("rates", "first_steps"):
            given = getattr(self, name)
            if given is not None and len(given) != len(variables):
                raise ValueError(
                    f"{name} has {len(given)} values for {len(variables)} trainable variables; "
                    "make it by by_variable(model, ...), from the model that is compiled."
                )
        super().build(variables)
        self._decay = self.weight_decay  # replicas take turns, and see what the others have set
        if self.measure_gradients:
            self.gradient_norms = self.add_variable(
                (4,), dtype="float32", aggregation="only_first_replica", name="gradient_norms"
            )

    @property
    def iterations(self) -> Any:
        """Updates made; within the update of a variable, those since its first step."""
        made = super().iterations
        return made - self._begun_before if self._begun_before else made

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable by its own rate."""
        place = self._get_variable_index(variable)
        if self.rates is not None and self.rates[place] != 1.0:
            learning_rate = learning_rate * self.rates[place]
        self._begun_before = 0 if self.first_steps is None else self.first_steps[place]
        try:
            super().update_step(gradient, variable, learning_rate)
        finally:
            self._begun_before = 0

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        if self.weight_decay is None or self.rates is None:
            super()._apply_weight_decay(variables)
            return
        decay, rates = self._decay, self.rates
        of = {id(v): rates[self._get_variable_index(v)] for v in variables}
        try:
            for rate in sorted(set(of.values())):
                self.weight_decay = decay * rate
                super()._apply_weight_decay([v for v in variables if of[id(v)] == rate])
        finally:
            self.weight_decay = decay

    def _clip_gradients(self, grads: Sequence[Any]) -> Sequence[Any]:
        if self.measure_gradients:
            norm = tf.linalg.global_norm([tf.cast(gradient, tf.float32) for gradient in grads])
            _, count, total, greatest = tf.unstack(tf.convert_to_tensor(self.gradient_norms))
            self.gradient_norms.assign(
                tf.stack([norm, count + 1.0, total + norm, tf.maximum(greatest, norm)])
            )
        return super()._clip_gradients(grads)

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """Ends the training on the averages; Keras takes frozen variables for others."""
        super().finalize_variable_values(self._trainable_variables)

    def get_config(self) -> dict[str, Any]:
        """Returns what rebuilds the optimiser."""
        return {
            **super().get_config(),
            "rates": None if self.rates is None else list(self.rates),
            "first_steps": None if self.first_steps is None else list(self.first_steps),
            "measure_gradients": self.measure_gradients,
        }


@keras.saving.register_keras_serializable("keras_distill")
class RatedAdam(_Rated, keras.optimizers.Adam):
    """`keras.optimizers.Adam` with a rate for each variable, as by an optimiser of its own.

    A rate multiplies the update, not the gradient, whose scale Adam divides away. The whole update:
    decoupled weight decay is multiplied too, as in the parameter groups of PyTorch.

    Args:
        *args: As of `keras.optimizers.Adam`.
        rates: What multiplies the update of each trainable variable; see `by_variable`.
        first_steps: Updates before each variable's first one, while it is frozen. Bias correction
            counts from there, or its first steps would be up to six times too long.
        measure_gradients: Whether to keep the global norm of the gradients, unscaled and before
            clipping, in the variable `gradient_norms`: of the last step; number, sum and maximum
            since it was last set to 0. Under `tf.distribute`, those of the first replica's share,
            which is also what Keras clips.
        **kwargs: As of `keras.optimizers.Adam`.

    Raises:
        ValueError: When it is built, if the number of values is not that of the variables.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="trunk")])
        >>> model.add(keras.layers.Dense(1))
        >>> rates = by_variable(model, {model.get_layer("trunk"): 0.1}, 1.0)
        >>> rates
        [0.1, 0.1, 1.0, 1.0]
        >>> model.compile(RatedAdam(1e-3, rates=rates), "mse")
    """


@keras.saving.register_keras_serializable("keras_distill")
class RatedSGD(_Rated, keras.optimizers.SGD):
    """`keras.optimizers.SGD` with a rate for each variable; see `RatedAdam`."""
