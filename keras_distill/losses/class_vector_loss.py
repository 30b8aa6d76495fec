"""Base class of the losses that learn a vector for each class of the training set."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill.losses.task_loss import TaskLoss
from keras_distill.losses.unit_rows import unit_rows


class ClassVectorLoss(TaskLoss):
    """Base class of the losses that compare embeddings with learned vectors of the classes.

    The vectors are trained with the student but are not part of it: `layer` holds them, and
    `Distiller` tracks it. Only their direction counts. They start short, with entries of about
    0.01, because Adam moves every entry by about the learning rate: a short vector turns fast,
    which stands in for the higher learning rate that class vectors are usually given.

    A subclass implements `compare`. Rows whose label is not among `classes` contribute nothing,
    like unlabelled ones.

    Args:
        classes: The labels of the training set, in any order, repeated or not.
        name: Name under which the value is reported.

    Raises:
        ValueError: If `classes` is empty, or holds other values than integers from 0.
    """

    takes_references = False

    def __init__(self, classes: Sequence[int] | np.ndarray, name: str):
        super().__init__(name=name)
        values = np.unique(np.asarray(classes))
        if not values.size or values.dtype.kind not in "iu" or values[0] < 0:
            raise ValueError(
                f"{type(self).__name__}: `classes` must be the labels of the training set, "
                f"integers from 0, not {values[:3]}."
            )
        self.classes = values.astype("int64")
        self.layer = self._class_vectors = _ClassVectors(len(values))

    def batch_loss(
        self,
        labels: Any,
        embeddings: Any,
        sample_weight: Any = None,
        ref_labels: Any = None,
        ref_embeddings: Any = None,
    ) -> Any:
        """Compares the batch with the class vectors; see the base class."""
        self._check_built()
        own = labels[:, None] == ops.convert_to_tensor(self.classes)[None, :]
        weights = ops.ones_like(embeddings[:, 0]) if sample_weight is None else sample_weight
        return self.compare(self._class_vectors(embeddings), own, weights)

    def compare(self, cosines: Any, own: Any, weights: Any) -> Any:
        """Computes the loss of one batch.

        Args:
            cosines: float32 tensor `(batch, classes)`, of the embeddings with the class vectors.
            own: Boolean tensor `(batch, classes)`, true for the class of each row, if it has one.
            weights: float32 tensor `(batch,)`, the sample weights.

        Returns:
            Scalar float32 tensor.
        """
        raise ValueError(f"{type(self).__name__} must implement compare().")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "classes": self.classes.tolist()}


class _ClassVectors(keras.layers.Layer):
    def __init__(self, classes: int):
        super().__init__(name="class_vectors", dtype="float32")
        self._classes = classes

    def build(self, input_shape: Any) -> None:
        self.vectors = self.add_weight(
            name="vectors",
            shape=(self._classes, input_shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=0.01),
        )

    def call(self, embeddings: Any) -> Any:
        return ops.matmul(unit_rows(embeddings), ops.transpose(unit_rows(self.vectors)))
