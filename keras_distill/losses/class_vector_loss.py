"""Base class of the losses that learn a vector for each class of the training set."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill.losses.task_loss import TaskLoss
from keras_distill.losses.unit_rows import unit_rows

_LENGTH = 0.01  # of an entry of a class vector in the beginning, about


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

    @property
    def vectors(self) -> Any:
        """The class vectors, a variable `(classes, dim)`, once the loss is built."""
        return self._class_vectors.vectors

    @property
    def head_scale(self) -> float:
        """Factor of the cosines, where the vectors are the head of a classifier."""
        return 1.0

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

    def start_from(self, labels: Any, embeddings: Any) -> None:
        """Lets each class vector point at the mean of embeddings of its class, such as a teacher's.

        Only the direction changes: the vectors are as short as at random, and turn as fast.

        Args:
            labels: Integers `(n,)`, each class among them; other labels are left out.
            embeddings: `(n, dim)`, of the student's width; each row counts by its direction.

        Raises:
            ValueError: If a class is missing, or the loss was built for another width.

        Example:
            >>> from keras_distill import ProxyAnchor
            >>> loss = ProxyAnchor(classes=[3, 7])
            >>> loss.start_from([7, 3, 3], [[0.0, 2.0], [1.0, 0.0], [3.0, 0.0]])
            >>> (loss.layer.get_weights()[0] > 0).tolist()
            [[True, False], [False, True]]
        """
        labels = np.ravel(np.asarray(labels))
        rows = ops.convert_to_numpy(unit_rows(embeddings)).astype("float64")
        if missing := sorted(set(self.classes.tolist()) - set(labels.tolist())):
            raise ValueError(
                f"{self.name}: `labels` holds no embedding of {len(missing)} of "
                f"{len(self.classes)} classes, such as {missing[0]}."
            )
        self.build(rows.shape[1])
        vectors = self._class_vectors.vectors
        if vectors.shape[1] != rows.shape[1]:
            raise ValueError(
                f"{self.name}: `embeddings` have width {rows.shape[1]}, the class vectors "
                f"{vectors.shape[1]}."
            )
        means = np.stack([rows[labels == label].mean(axis=0) for label in self.classes])
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        means *= _LENGTH * math.sqrt(rows.shape[1]) / np.where(lengths > 0, lengths, 1)
        # A mean of 0 has no direction: that class starts at random.
        vectors.assign(np.where(lengths > 0, means, ops.convert_to_numpy(vectors)))

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
            initializer=keras.initializers.RandomNormal(stddev=_LENGTH),
        )

    def call(self, embeddings: Any) -> Any:
        return ops.matmul(unit_rows(embeddings), ops.transpose(unit_rows(self.vectors)))
