"""Base class of the losses on labels of images."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_distill.errors import InputError


class LabelLoss(keras.losses.Loss):
    """Base class of the losses on `(targets, outputs)`, for `model.compile(loss=...)`.

    A subclass implements `total_and_count`. In contrast to `keras.losses.Loss`, targets keep their
    type (Keras casts them to that of the loss), and everything is computed in float32 whatever the
    dtype policy. Sample weights multiply losses, and do not change what a mean divides by, as in
    Keras.

    Under `tf.distribute`, calling the loss follows Keras' convention: each replica gives its part,
    and the parts of all replicas add up to the loss of the global batch, also where they have
    unequal numbers of rows. What depends on other rows is limited to those of the replica. A
    method that has gathered the rows of all replicas calls `batch_loss` instead.

    Args:
        reduction: One of `reductions`.
        name: Name under which the value is reported.

    Attributes:
        reductions: `"sum"`, and `"mean"`, which divides by what the loss counts.
    """

    reductions: tuple[str, ...] = ("sum", "mean")

    def __init__(self, reduction: str, name: str | None = None):
        if reduction not in self.reductions:
            raise InputError(
                f"{type(self).__name__}: `reduction={reduction!r}` is not one of "
                f"{', '.join(map(repr, self.reductions))}."
            )
        super().__init__(name=name, reduction=reduction, dtype="float32")

    def __call__(self, targets: Any, outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the loss of a batch, or a replica's part of it.

        Args:
            targets: Tensor `(batch, ...)`.
            outputs: Tensor `(batch, ...)`.
            sample_weight: Optional tensor `(batch,)`, the weight of each row.

        Returns:
            Scalar float32 tensor.
        """
        with keras.name_scope(self.name):
            total, count = self._total_and_count(targets, outputs, sample_weight)
            return self._reduced(total, _over_replicas(count))

    def batch_loss(self, targets: Any, outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the loss of the rows that are given, whatever other replicas have.

        Args:
            targets: As of `__call__`.
            outputs: As of `__call__`.
            sample_weight: As of `__call__`.

        Returns:
            Scalar float32 tensor.
        """
        with keras.name_scope(self.name):
            return self._reduced(*self._total_and_count(targets, outputs, sample_weight))

    def total_and_count(self, targets: Any, outputs: Any, sample_weight: Any) -> tuple[Any, Any]:
        """Computes the weighted sum of the losses, and what their mean divides by.

        Args:
            targets: Tensor `(batch, ...)` of any type.
            outputs: float32 tensor `(batch, ...)`.
            sample_weight: float32 tensor of the rank of the losses, or `None`.

        Returns:
            Two scalar float32 tensors.
        """
        raise ValueError(f"{type(self).__name__} must implement total_and_count().")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {"reduction": self.reduction, "name": self.name}

    def _total_and_count(self, targets: Any, outputs: Any, weight: Any) -> tuple[Any, Any]:
        outputs = ops.cast(outputs, "float32")
        weight = None if weight is None else ops.cast(weight, "float32")
        return self.total_and_count(ops.convert_to_tensor(targets), outputs, weight)

    def _reduced(self, total: Any, count: Any) -> Any:
        return total if self.reduction == "sum" else total / ops.maximum(count, 1.0)


def _over_replicas(count: Any) -> Any:
    """The sum of a count over the replicas."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return count
    return context.all_reduce(tf.distribute.ReduceOp.SUM, count)
