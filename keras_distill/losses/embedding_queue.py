"""Queue of the last embeddings of a training, kept in variables."""

from typing import Any

import keras
from keras import ops


class EmbeddingQueue(keras.layers.Layer):
    """Holds the last embeddings of a training, with their labels; empty rows have the label -1.

    Args:
        size: Number of rows.
        name: Name of the layer.
    """

    def __init__(self, size: int, name: str = "memory"):
        super().__init__(name=name, dtype="float32", trainable=False)
        self._size = size

    def build(self, input_shape: Any) -> None:
        """Creates the variables, for embeddings `(batch, dim)`."""
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self._size, input_shape[-1]),
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )
        self.labels = self.add_weight(
            name="labels",
            shape=(self._size,),
            initializer=keras.initializers.Constant(-1),
            dtype="int64",
            trainable=False,
            aggregation="only_first_replica",
        )

    def remember(self, labels: Any, embeddings: Any) -> None:
        """Puts the labelled rows of a batch in front of the queue, whose last rows fall out.

        Rows that are not finite are left out: a float16 step that overflows is skipped, but its
        rows in the queue would make the following steps overflow too.

        Args:
            labels: int64 tensor `(batch,)`, negative for unlabelled rows.
            embeddings: Tensor `(batch, dim)`; no gradient is kept.
        """
        finite = ops.all(ops.isfinite(embeddings), axis=-1)
        labels = ops.where(finite, labels, -1)
        length = ops.shape(labels)[0] + self._size
        rows = ops.arange(length)
        unlabelled = ops.concatenate([labels < 0, ops.zeros((self._size,), "bool")])
        # Unlabelled rows go behind all others, where they fall out: no shape depends on the labels.
        kept = ops.argsort(ops.where(unlabelled, rows + length, rows))[: self._size]
        for memory, new in (
            (self.labels, labels),
            (self.embeddings, ops.stop_gradient(ops.cast(embeddings, "float32"))),
        ):
            queue = ops.concatenate([new, ops.convert_to_tensor(memory)])
            memory.assign(ops.take(queue, kept, axis=0))
