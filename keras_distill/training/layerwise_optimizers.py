"""Adam and SGD with a learning-rate multiplier for each variable."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_distill.models.keras_internals import OptimizerHooks


def multipliers_by_variable(
    model: keras.Model,
    values: Mapping[keras.Layer, Any],
    default: Any,
    *,
    variables: Sequence[Any] | None = None,
) -> list[Any]:
    """Lists a value for each trainable variable of a model, such as a learning-rate multiplier.

    Args:
        model: The model that will be compiled, with nothing frozen.
        values: The value of the variables of a layer, or of a model within the model.
        default: The value of all others.
        variables: The variables of the optimiser, if it is one of several.

    Returns:
        The values, in the order of `variables`, by default `model.trainable_variables`.
    """
    known = {id(v): value for layer, value in values.items() for v in layer.trainable_variables}
    variables = model.trainable_variables if variables is None else variables
    return [known.get(id(variable), default) for variable in variables]


def is_matrix(variable: Any) -> bool:
    """Tells whether a variable is the kernel of a layer, and neither a bias nor a factor."""
    return len(variable.shape) >= 2


class _Layerwise(OptimizerHooks):
    """Base of the optimisers of this file; comes before the Keras optimiser in their bases."""

    weight_decay: float | None
    _decay: Any
    _missed: Any = None  # updates that left the present variable out

    def __init__(
        self,
        *args: Any,
        multipliers: Sequence[float] | None = None,
        count_updates: bool = False,
        measure_gradients: bool = False,
        decay_matrices_only: bool = False,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.multipliers = None if multipliers is None else tuple(map(float, multipliers))
        self.count_updates = count_updates
        self.measure_gradients = measure_gradients
        self.decay_matrices_only = decay_matrices_only

    def build(self, variables: Sequence[Any]) -> None:
        """Makes the variables of the optimiser."""
        if self.built:
            return
        if self.multipliers is not None and len(self.multipliers) != len(variables):
            raise ValueError(
                f"`multipliers` has {len(self.multipliers)} values for {len(variables)} trainable "
                "variables; make them with multipliers_by_variable(model, ...), from the model "
                "that is compiled."
            )
        super().build(variables)
        self._decay = self.weight_decay  # replicas take turns, and see each other's changes
        if self.count_updates:
            self.missed_updates = self.add_variable(
                (len(variables),),
                dtype="int64",
                aggregation="only_first_replica",
                name="missed_updates",
            )
        if self.measure_gradients:
            self.gradient_norms = self.add_variable(
                (4,), dtype="float32", aggregation="only_first_replica", name="gradient_norms"
            )

    @property
    def iterations(self) -> Any:
        """Number of updates; within the update of a variable, the number of its own updates."""
        if self._missed is None:
            return super().iterations
        made = self.steps - self._missed
        return (
            made // self.gradient_accumulation_steps if self.gradient_accumulation_steps else made
        )

    def update_variables(self, gradients: Any, variables: Any) -> None:
        """Counts the updates of each variable; see the base class."""
        if self.count_updates:
            missing = np.ones(len(self.updated_variables), np.int64)
            missing[[self.place_of(v) for v in variables]] = 0
            if missing.any():
                self.missed_updates.assign_add(missing)
        super().update_variables(gradients, variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable with its multiplied learning rate."""
        place = self.place_of(variable)
        if self.multipliers is not None and self.multipliers[place] != 1.0:
            learning_rate = learning_rate * self.multipliers[place]
        self._missed = self.missed_updates[place] if self.count_updates else None
        try:
            super().update_step(gradient, variable, learning_rate)
        finally:
            self._missed = None

    def decay_weights(self, variables: Sequence[Any]) -> None:
        """Decays each variable, multiplied likewise, or matrices alone; see the base class."""
        if self.decay_matrices_only:
            variables = [variable for variable in variables if is_matrix(variable)]
        if self.weight_decay is None or self.multipliers is None:
            super().decay_weights(variables)
            return
        decay, multipliers = self._decay, self.multipliers
        of = {id(v): multipliers[self.place_of(v)] for v in variables}
        try:
            for multiplier in sorted(set(of.values())):
                self.weight_decay = decay * multiplier
                super().decay_weights([v for v in variables if of[id(v)] == multiplier])
        finally:
            self.weight_decay = decay

    def clip_gradients(self, gradients: Sequence[Any]) -> Sequence[Any]:
        """Leaves the gradients of one replica alone; see `add_up_gradients`."""
        return gradients

    def add_up_gradients(self, gradients_and_variables: Sequence[Any]) -> list[Any]:
        """Adds up the gradients of all replicas, and then clips what one device would clip."""
        reduced = super().add_up_gradients(gradients_and_variables)
        grads, variables = zip(*reduced, strict=True)
        if self.measure_gradients:
            norm = tf.linalg.global_norm([tf.cast(gradient, tf.float32) for gradient in grads])
            _, count, total, greatest = tf.unstack(tf.convert_to_tensor(self.gradient_norms))
            self.gradient_norms.assign(
                tf.stack([norm, count + 1.0, total + norm, tf.maximum(greatest, norm)])
            )
        return list(zip(super().clip_gradients(grads), variables, strict=True))

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """Ends the training with the averages, also of variables that are frozen at the end."""
        super().finalize_variable_values(self.updated_variables)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Rebuilds the optimiser; in files of version 0.1 the multipliers are `rates`."""
        former = config.pop("rates", None)
        return super().from_config({"multipliers": former, **config}, custom_objects)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "multipliers": None if self.multipliers is None else list(self.multipliers),
            "count_updates": self.count_updates,
            "measure_gradients": self.measure_gradients,
            "decay_matrices_only": self.decay_matrices_only,
        }


@keras.saving.register_keras_serializable("keras_distill")
class LayerwiseAdam(_Layerwise, keras.optimizers.Adam):
    """`keras.optimizers.Adam` with a learning-rate multiplier for each variable.

    A multiplier scales the update, not the gradient, whose scale Adam removes. It scales the whole
    update: decoupled weight decay is multiplied too, as in the parameter groups of PyTorch.

    Under `tf.distribute`, gradients are clipped and measured after the gradients of all replicas
    have been added up; Keras clips each replica's share by itself.

    Args:
        *args: As of `keras.optimizers.Adam`.
        multipliers: Factor of the update of each trainable variable; see
            `multipliers_by_variable`.
        count_updates: Whether to count the updates of each variable separately. Bias correction
            then starts when a frozen layer is unfrozen; without it the first steps of that layer
            would be up to six times too long.
        measure_gradients: Whether to keep the global norm of the gradients, unscaled and before
            clipping, in the variable `gradient_norms`: the norm of the last step, and number, sum
            and maximum since it was last set to 0.
        decay_matrices_only: Whether `weight_decay` leaves out vectors: biases, and the factors of
            normalisations.
        **kwargs: As of `keras.optimizers.Adam`.

    Raises:
        ValueError: When it is built, if the number of multipliers differs from the number of
            variables.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="trunk")])
        >>> model.add(keras.layers.Dense(1))
        >>> multipliers = multipliers_by_variable(model, {model.get_layer("trunk"): 0.1}, 1.0)
        >>> multipliers
        [0.1, 0.1, 1.0, 1.0]
        >>> model.compile(LayerwiseAdam(1e-3, multipliers=multipliers), "mse")
    """


@keras.saving.register_keras_serializable("keras_distill")
class LayerwiseSGD(_Layerwise, keras.optimizers.SGD):
    """`keras.optimizers.SGD` with a learning-rate multiplier for each variable.

    See `LayerwiseAdam`.
    """


# Names in files of version 0.1.
for _kind in (LayerwiseAdam, LayerwiseSGD):
    _former = _kind.__name__.replace("Layerwise", "Rated")
    keras.saving.get_custom_objects()[f"keras_distill>{_former}"] = _kind
