"""Self-distillation of an embedding from wider heads on the same features."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_distill.losses.cross_batch_memory import CrossBatchMemory
from keras_distill.losses.task_loss import TaskLoss, integer_labels
from keras_distill.losses.unit_rows import unit_rows
from keras_distill.losses.wrapped_loss import WrappedLoss

_DIMS = (512, 1024, 1536, 2048)


@keras.saving.register_keras_serializable("keras_distill")
class SelfDistillation(WrappedLoss):
    """Lets wide heads on the student's pooled features learn the task, and teach the embedding.

    `L = (loss(s) + mean_h loss_h(z_h)) / 2`
    `  + weight T^2 mean_h mean_i KL(softmax(z_h z_h' / T)_i || softmax(s s' / T)_i)`

    with the unit embeddings `s`, the unit outputs `z_h` of head `h` (a hidden layer and a linear
    one of its width, on the average of a feature map), and no gradient into `z_h` from the
    divergence (Roth et al., "Simultaneous Similarity-based Self-Distillation for Deep Metric
    Learning", ICML 2021, arXiv 2009.08348). Each head has a copy of the loss. The heads are trained
    with the student but not part of it: `layer` holds them, and `Distiller` tracks it. Unlabelled
    rows take part in the divergence alone; a sample weight multiplies the terms of its row.

    Args:
        loss: Loss on the labels.
        dims: Widths of the heads.
        weight: Weight of the divergence.
        temperature: `T`, which divides the cosines.
        student_layer: The student's layer whose feature map is averaged, by name or path.
        name: Name under which the value is reported; by default the name of `loss`.

    Raises:
        ValueError: If the widths are not positive, or `loss` remembers embeddings or takes those of
            a teacher, whose width a head does not have.

    Example:
        >>> from keras_distill import BatchHardTriplet
        >>> loss = SelfDistillation(BatchHardTriplet(margin=0.2), dims=[8])
        >>> loss.build(embedding_dim=2, feature_dim=3)  # Distiller does it, and gives the features
        >>> features = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
        >>> float(loss([0, 0], [[1.0, 0.0], [1.0, 0.0]], features=features)) > 0
        True
    """

    takes_references = False

    def __init__(
        self,
        loss: TaskLoss,
        dims: Sequence[int] = _DIMS,
        weight: float = 50.0,
        temperature: float = 1.0,
        student_layer: str = "trunk",
        name: str | None = None,
    ):
        if not dims or min(dims) < 1:
            raise ValueError(f"SelfDistillation: `dims={dims!r}` must be positive widths.")
        if isinstance(loss, CrossBatchMemory) or loss.teacher is not None:
            raise ValueError(
                f"SelfDistillation: `loss`, a {type(loss).__name__}, compares with embeddings of "
                "one width, which the heads do not have; give the loss that it wraps."
            )
        super().__init__(loss, name)
        self.dims = [int(dim) for dim in dims]
        self.weight = weight
        self.temperature = temperature
        self.student_layer = student_layer
        self._head_losses = [type(loss).from_config(loss.get_config()) for _ in self.dims]
        layers = [each.layer for each in (loss, *self._head_losses) if each.layer is not None]
        self.layer = self._heads = _Heads(self.dims, layers)

    def build(self, embedding_dim: int, feature_dim: int | None = None) -> None:
        """Makes the heads, and the variables of each loss; see the base class."""
        if feature_dim is None:
            raise ValueError(f"{self.name}: `feature_dim` is needed, the width of the features.")
        for loss, dim in zip(
            (self.loss, *self._head_losses), (embedding_dim, *self.dims), strict=True
        ):
            loss.build(dim)
        if not self._heads.built:
            self._heads.build((None, feature_dim))

    def __call__(
        self,
        labels: Any,
        embeddings: Any,
        sample_weight: Any = None,
        *,
        ref_labels: Any = None,
        ref_embeddings: Any = None,
        features: Any = None,
    ) -> Any:
        """Computes the loss of one batch.

        Args:
            labels: Integer tensor `(batch,)` or `(batch, 1)`; -1 for unlabelled.
            embeddings: Tensor `(batch, dim)`.
            sample_weight: Optional tensor `(batch,)`, the weight of each row.
            ref_labels: Not taken.
            ref_embeddings: Not taken.
            features: Tensor `(batch, feature_dim)`, what the heads work on.

        Returns:
            Scalar float32 tensor.
        """
        self._check_built()
        if ref_labels is not None or ref_embeddings is not None:
            raise ValueError(f"{self.name} chooses what it compares with; give no references.")
        if features is None:
            raise ValueError(
                f"{self.name}: `features` are needed, the average of the student's feature map of "
                f"{self.student_layer!r}; Distiller(task_loss=...) gives them."
            )
        with keras.name_scope(self.name):
            labels = integer_labels(labels)
            if sample_weight is not None:
                sample_weight = ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
            features = ops.cast(features, "float32")
            weights = 1.0 if sample_weight is None else sample_weight
            similarities = self._log_similarities(unit_rows(embeddings))
            losses, divergences = [], []
            for loss, output in zip(self._head_losses, self._heads(features), strict=True):
                vectors = unit_rows(output)
                losses.append(loss(labels, vectors, sample_weight))
                taught = self._log_similarities(ops.stop_gradient(vectors))
                each = ops.sum(ops.exp(taught) * (taught - similarities), axis=-1)
                divergences.append(ops.mean(each * weights))
            task = (self.loss(labels, embeddings, sample_weight) + sum(losses) / len(losses)) / 2
            divergence = sum(divergences) / len(divergences)
            return task + self.weight * self.temperature**2 * divergence

    def _log_similarities(self, vectors: Any) -> Any:
        return ops.log_softmax(ops.matmul(vectors, ops.transpose(vectors)) / self.temperature)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "dims": self.dims,
            "weight": self.weight,
            "temperature": self.temperature,
            "student_layer": self.student_layer,
        }


class _Heads(keras.layers.Layer):
    """The heads, and what the losses of embedding and heads train."""

    def __init__(self, dims: Sequence[int], loss_layers: Sequence[keras.Layer]):
        super().__init__(name="self_distillation", dtype="float32")
        dense = keras.layers.Dense
        self.hidden = [dense(dim, activation="relu", dtype="float32") for dim in dims]
        self.linear = [dense(dim, dtype="float32") for dim in dims]
        self.loss_layers = list(loss_layers)

    def build(self, input_shape: Any) -> None:
        for hidden, linear in zip(self.hidden, self.linear, strict=True):
            hidden.build(input_shape)
            linear.build((None, hidden.units))

    def call(self, features: Any) -> list[Any]:
        heads = zip(self.hidden, self.linear, strict=True)
        return [linear(hidden(features)) for hidden, linear in heads]
