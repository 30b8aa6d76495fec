"""Base class of the methods: Keras models whose training step is an algorithm."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import keras
import tensorflow as tf
from keras import ops

from keras_distill.distribution.global_batch import averageable, require_rows
from keras_distill.errors import InputError
from keras_distill.methods.loss_scaling import CountingLossScale
from keras_distill.models.batch_norm_momentum import warmed_up_momentum
from keras_distill.models.keras_internals import TrainerHooks, yields_for_ever


class LossTerm(NamedTuple):
    """One part of the total loss.

    Attributes:
        name: Name under which it is reported, one of those given to `track_losses`.
        value: Scalar, equal on all replicas unless it is `reported` otherwise.
        rows: Number of rows, of all replicas, that it is a mean over: the weight of this batch in
            the reported mean over batches.
        weight: Its weight in the total.
        reported: Scalar to report where `value` is not the value of the whole batch.
    """

    name: str
    value: Any
    rows: Any
    weight: float = 1.0
    reported: Any = None


class Method(TrainerHooks, keras.Model):
    """Base class of the methods: a model that trains another one, its product.

    A subclass is a `keras.Model` in every respect. It implements `get_product` and `loss_terms`,
    calls `track_losses` in its constructor, and sets `built` at its end. This class adds up the
    terms and the L2 penalties, reports each term by its name, divides by the number of replicas as
    `tf.distribute` expects, counts the steps that overflow in float16, warms up the momentum of
    batch normalisations, and leaves XLA to GPUs. All variables exist once the model is made.

    Batches are `(x, y)` or `(x, y, sample_weight)`, `x` a tensor or a dict with `image`.

    Args:
        **kwargs: As of `keras.Model`.

    Attributes:
        observer: Called, in the graph, with the labels and outputs of each training step, where
            the method observes them.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_distill.distribution.global_batch import gather_replicas
        >>> class Regression(Method):
        ...     def __init__(self, network, **kwargs):
        ...         super().__init__(**kwargs)
        ...         self.network = network
        ...         self.track_losses(["squares"])
        ...         self.built = True
        ...
        ...     def get_product(self):
        ...         return self.network
        ...
        ...     def loss_terms(self, x, y, y_pred, sample_weight, training):
        ...         y, y_pred = gather_replicas((y, y_pred))
        ...         squares = ops.mean(ops.square(y - y_pred))
        ...         return [LossTerm("squares", squares, rows=ops.shape(y)[0])]
        >>> model = Regression(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
        >>> model.compile("adam")
        >>> sorted(model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0).history)
        ['loss', 'squares']
    """

    #: What to do instead of giving `compile` a loss, and loss weights, for its messages.
    loss_advice: ClassVar[str] = "give the losses to its constructor"
    loss_weights_advice: ClassVar[str] = "give the weights to its constructor"

    def __init__(self, **kwargs: Any):
        # Raw pixels and other data must not be cast to the compute dtype on their way in.
        super().__init__(autocast=False, **kwargs)
        self.observer: Callable[[Any, Any], None] | None = None

    # What a subclass implements

    def get_product(self) -> keras.Model:
        """Returns the model that is trained, to be saved, evaluated and exported."""
        raise NotImplementedError(f"{type(self).__name__} must implement get_product().")

    def loss_terms(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool
    ) -> Sequence[LossTerm]:
        """Computes the parts of the loss, in the order in which they are added up.

        A loss that compares rows, or whose mean is over them, takes the rows of all replicas, put
        together by `gather_replicas`.

        Args:
            x: What `prepare` returned, a dict.
            y: The targets of this replica's rows.
            y_pred: The product's outputs for them.
            sample_weight: Weights `(batch,)`, or `None`.
            training: Whether this is a training step.

        Returns:
            One term for each name given to `track_losses`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement loss_terms().")

    def prepare(self, data: Any, training: bool) -> tuple[dict[str, Any], Any, Any]:
        """Prepares a batch outside the gradient tape, for example by evaluating a frozen model.

        Args:
            data: An element of the data set.
            training: Whether this is a training step.

        Returns:
            A dict with `image`, targets, and sample weights or `None`.
        """
        x, y, sample_weight = unpack_batch(data)
        if training:
            x["image"] = require_rows(x["image"])
        return x, y, sample_weight

    # What it uses

    def track_losses(self, names: Sequence[str]) -> None:
        """Makes the metrics that report the mean of each term.

        Args:
            names: Names of the terms.

        Raises:
            InputError: If two are equal, or one is `"loss"`.
        """
        names = list(names)
        if len({"loss", *names}) != len(names) + 1:
            raise InputError(
                f"{type(self).__name__}: the losses are named {names}; give each a name of its own "
                "(not 'loss', which is the total), e.g. RelativeTeacher(name='relative_2')."
            )
        self._loss_trackers = {name: keras.metrics.Mean(name=name) for name in names}

    @property
    def optimizers(self) -> dict[str, keras.optimizers.Optimizer]:
        """The optimisers by name; the one given to `compile` is `""`.

        A method with others overrides this and `variables_of`. Checkpoints hold all of them.
        """
        return {"": self.optimizer}

    def variables_of(self, optimizer: str) -> list[keras.Variable]:
        """Returns the variables that an optimiser updates.

        Args:
            optimizer: Its name in `optimizers`.

        Returns:
            The variables that it is built for, in its order.
        """
        return self.trainable_variables

    def build_optimizers(self) -> None:
        """Makes the variables of all optimisers that have none yet."""
        for name, optimizer in self.optimizers.items():
            if not optimizer.built:
                optimizer.build(self.variables_of(name))

    def observe(self, labels: Any, outputs: Any) -> None:
        """Calls the observer, if there is one, with the labels and outputs of a training step."""
        if self.observer is not None and labels is not None:
            self.observer(labels, outputs)

    # What Keras calls

    def call(self, x: Any, training: bool = False) -> Any:
        """Returns the product's outputs for `x`, images or a dict with `image`."""
        return self.get_product()(images_of(x), training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Prepares the batch, outside the gradient tape, and lets Keras make its own step."""
        batch = self.prepare(data, training=True)
        with warmed_up_momentum(self, self.optimizer.iterations):
            return averageable(super().train_step(batch))

    def test_step(self, data: Any) -> dict[str, Any]:
        """Prepares the batch and lets Keras make its own step; changes no weight."""
        return averageable(super().test_step(self.prepare(data, training=False)))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Adds up the terms and the penalties, and tracks each term by its name.

        Args:
            x: What `prepare` returned.
            y: The targets.
            y_pred: The product's outputs.
            sample_weight: Optional weights `(batch,)`.
            training: Whether this is a training step.

        Returns:
            Scalar tensor, scaled for `tf.distribute` as Keras expects.
        """
        total = ops.zeros((), "float32")
        for term in self.loss_terms(x, y, y_pred, sample_weight, training):
            reported = term.value if term.reported is None else term.reported
            self._loss_trackers[term.name].update_state(
                reported, sample_weight=ops.cast(term.rows, "float32")
            )
            total += term.weight * term.value
        total += sum(ops.cast(ops.sum(penalty), "float32") for penalty in self.losses)
        return total / tf.distribute.get_strategy().num_replicas_in_sync

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
            auto_scale_loss: Whether the loss is scaled under the dtype policy mixed_float16, by
                `CountingLossScale`.
            **kwargs: As of `keras.Model.compile`.

        Raises:
            InputError: If there is a loss, or no optimiser.
        """
        name = type(self).__name__
        if loss is not None:
            raise InputError(
                f"{name}.compile(loss={loss!r}) would not be used; compile without `loss`, and "
                f"{self.loss_advice}."
            )
        if loss_weights is not None:
            raise InputError(
                f"{name}.compile(loss_weights={loss_weights!r}) would not be used; "
                f"{self.loss_weights_advice}."
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
        """Compiles a loaded model; Keras requires this of classes that override `compile`."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.build_optimizers()

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        """Exports the product; arguments as in `keras.Model.export`."""
        return self.get_product().export(filepath, *args, **kwargs)

    def build_before_fit(self, iterator: Any, data_batch: Any) -> None:
        """Builds the optimiser, and metrics given to `compile`: everything else is built.

        Raises:
            InputError: If the batches do not end.
        """
        if yields_for_ever(iterator):
            raise InputError(
                "the batches do not end; give fit `steps_per_epoch`, and `validation_steps` if "
                "`validation_data` does not end either, and evaluate `steps`."
            )
        # For the shapes of metrics Keras would average a batch over the replicas, which several
        # workers cannot.
        if self.compiled_metrics_are_unbuilt:
            super().build_before_fit(iterator, data_batch)
        elif self.own_strategy is not None:
            with self.own_strategy.scope():
                self.build_optimizers()

    def compiles_by_xla(self) -> bool:
        """Leaves XLA to GPUs: on a CPU it makes the step of a MobileNet ten times slower."""
        return bool(tf.config.list_physical_devices("GPU")) and super().compiles_by_xla()


def images_of(x: Any) -> Any:
    """Returns the images of `x`, images or a dict with `image`."""
    return x["image"] if isinstance(x, Mapping) else x


def unpack_batch(data: Any) -> tuple[dict[str, Any], Any, Any]:
    """Splits an element of a data set into a dict with `image`, targets, and sample weights."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    return dict(x) if isinstance(x, Mapping) else {"image": x}, y, sample_weight
