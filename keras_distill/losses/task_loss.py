"""Base class of the losses that learn a metric from class labels."""

from typing import Any

import keras
from keras import ops


class TaskLoss(keras.losses.Loss):
    """Base class of the losses on `(labels, embeddings)`.

    A subclass implements `call`, the loss of each anchor, or `batch_loss`. In contrast to
    `keras.losses.Loss`, labels stay integers (Keras casts them to float32, where 16777216 equals
    16777217), everything is computed in float32 whatever the dtype policy, and rows labelled -1
    (unlabelled) are neither anchors nor references. The loss is the weighted sum over the labelled
    anchors divided by their number.

    It works in `Distiller(task_loss=...)` and, unless it has a `layer`, in plain
    `model.compile(loss=...)`.

    Args:
        name: Name under which the value is reported.

    Attributes:
        layer: Holds the variables of the loss itself, or `None`. The model that uses the loss
            calls `build`, tracks the layer and calls `update` after each training step.
        takes_references: Whether the anchors can be compared with given references.
        teacher: Name of the teacher whose embeddings the model gives as references, with the labels
            of the batch; `""` for a single one, `None` if the loss needs none.
        student_layer: Layer of the student whose feature map, averaged over its places, the model
            gives as `features`, and its width to `build` as `feature_dim`; empty if the loss needs
            none.
    """

    layer: keras.Layer | None = None
    takes_references: bool = True
    teacher: str | None = None
    student_layer: str = ""

    def __init__(self, name: str | None = None):
        super().__init__(name=name, reduction="sum_over_batch_size", dtype="float32")

    def __call__(
        self,
        labels: Any,
        embeddings: Any,
        sample_weight: Any = None,
        *,
        ref_labels: Any = None,
        ref_embeddings: Any = None,
    ) -> Any:
        """Computes the loss of one batch.

        Args:
            labels: Integer tensor `(batch,)` or `(batch, 1)`; -1 for unlabelled.
            embeddings: Tensor `(batch, dim)`.
            sample_weight: Optional tensor `(batch,)`, the weight of each anchor.
            ref_labels: Optional integer tensor `(refs,)`, the labels of `ref_embeddings`.
            ref_embeddings: Optional tensor `(refs, dim)` to compare the anchors with, such as a
                memory of earlier batches; by default the batch itself.

        Returns:
            Scalar float32 tensor.
        """
        if (ref_labels is None) != (ref_embeddings is None):
            raise ValueError(
                f"{self.name}: `ref_labels` and `ref_embeddings` go together; "
                f"only `{'ref_embeddings' if ref_labels is None else 'ref_labels'}` was given."
            )
        if ref_labels is not None and not self.takes_references:
            raise ValueError(f"{self.name} chooses what it compares with; give no references.")
        with keras.name_scope(self.name):
            labels = integer_labels(labels)
            ref_labels = None if ref_labels is None else integer_labels(ref_labels)
            if sample_weight is not None:
                sample_weight = ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
            embeddings = ops.cast(embeddings, "float32")
            return self.batch_loss(labels, embeddings, sample_weight, ref_labels, ref_embeddings)

    def batch_loss(
        self,
        labels: Any,
        embeddings: Any,
        sample_weight: Any = None,
        ref_labels: Any = None,
        ref_embeddings: Any = None,
    ) -> Any:
        """Computes the loss of one batch; by default the mean of `call` over labelled anchors.

        Args:
            labels: int64 tensor `(batch,)`.
            embeddings: float32 tensor `(batch, dim)`.
            sample_weight: float32 tensor `(batch,)`, or `None`.
            ref_labels: int64 tensor `(refs,)`, or `None` for the batch itself.
            ref_embeddings: Tensor `(refs, dim)`, or `None` for the batch itself.

        Returns:
            Scalar float32 tensor.
        """
        losses = self.call(labels, embeddings, ref_labels, ref_embeddings)
        weights = labelled = ops.cast(labels >= 0, "float32")
        if sample_weight is not None:
            weights *= sample_weight
        return ops.sum(losses * weights) / ops.maximum(ops.sum(labelled), 1.0)

    def call(
        self, labels: Any, embeddings: Any, ref_labels: Any = None, ref_embeddings: Any = None
    ) -> Any:
        """Computes the loss of each row of the batch as an anchor.

        Args:
            labels: int64 tensor `(batch,)`.
            embeddings: float32 tensor `(batch, dim)`.
            ref_labels: int64 tensor `(refs,)`, or `None` for the batch itself.
            ref_embeddings: Tensor `(refs, dim)`, or `None` for the batch itself.

        Returns:
            float32 tensor `(batch,)`; rows labelled -1 may hold any finite value.
        """
        raise ValueError(f"{type(self).__name__} must implement call().")

    def build(self, embedding_dim: int) -> None:
        """Creates the variables of `layer`, if there is one, for embeddings of this width."""
        if self.layer is not None and not self.layer.built:
            self.layer.build((None, embedding_dim))

    def update(self, labels: Any, embeddings: Any) -> None:
        """Called with a training batch after its loss has been computed; does nothing by default.

        Args:
            labels: Integer tensor `(batch,)`.
            embeddings: Tensor `(batch, dim)`.
        """
        return None  # AutoGraph cannot convert a function without statements

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {"name": self.name}

    def _check_built(self) -> None:
        if self.layer is None or not self.layer.built:
            raise ValueError(
                f"{self.name}: {type(self).__name__} has variables of its own, which a model must "
                "track to train and save them: give it to Distiller(task_loss=...), or call "
                "build(embedding_dim), assign its `layer` to your model, and call update(labels, "
                "embeddings) after each training step."
            )


def integer_labels(labels: Any) -> Any:
    """Turns labels `(batch,)` or `(batch, 1)` of any integer type into int64 `(batch,)`.

    Raises:
        TypeError: If they are not integers.
    """
    labels = ops.reshape(ops.convert_to_tensor(labels), (-1,))
    if "int" not in str(labels.dtype):
        raise TypeError(
            f"labels must be integers, got {labels.dtype}; floats would merge labels above 2**24. "
            "Cast them where they are made, e.g. labels.astype('int64')."
        )
    return ops.cast(labels, "int64")
