"""Cross-batch memory, with which a batch is also compared with earlier batches."""

from typing import Any

import keras

from keras_distill.losses.embedding_queue import EmbeddingQueue
from keras_distill.losses.task_loss import TaskLoss, integer_labels
from keras_distill.losses.wrapped_loss import WrappedLoss


@keras.saving.register_keras_serializable("keras_distill")
class CrossBatchMemory(WrappedLoss):
    """Adds to a loss its value on the batch and the remembered embeddings of earlier batches.

    `L = loss(batch) + weight * loss(batch, memory)` ("Cross-Batch Memory for Embedding Learning",
    CVPR 2020, arXiv 1912.06798): a small batch meets the hard negatives of thousands of images,
    at the cost of one matrix product, because embeddings drift slowly. The memory is a queue of the
    last `size` labelled rows, without gradient and without the batch itself. It starts empty, and
    only `update` puts rows into it, which `Distiller` calls after each training step and never in
    evaluation; its content is saved with the Distiller.

    Args:
        loss: A loss that takes references.
        size: Number of rows to remember. Rows that are too old do harm, because embeddings drift:
            up to some 100 batches.
        weight: Weight of the comparison with the memory.
        name: Name under which the value is reported; by default the name of `loss`.

    Raises:
        ValueError: If the loss takes no references or the size is not positive.

    Example:
        >>> from keras_distill import BatchHardTriplet
        >>> loss = CrossBatchMemory(BatchHardTriplet(margin=0.5), size=4)
        >>> loss.build(embedding_dim=1)  # Distiller does it, and calls update
        >>> float(loss([0, 1], [[0.0], [1.0]]))
        0.0
        >>> loss.update([0, 1], [[0.0], [1.0]])
        >>> float(loss([0, 1], [[0.75], [1.0]]))
        0.75...
    """

    takes_references = False

    def __init__(self, loss: TaskLoss, size: int, weight: float = 1.0, name: str | None = None):
        if not loss.takes_references:
            raise ValueError(
                f"CrossBatchMemory: `loss`, a {type(loss).__name__}, takes no references, so "
                "there is nothing to remember; give a loss that does, such as BatchHardTriplet."
            )
        if size < 1:
            raise ValueError(f"CrossBatchMemory: `size={size}` must be positive.")
        super().__init__(loss, name)
        self.size = size
        self.weight = weight
        self.layer = self._memory = EmbeddingQueue(size)

    def batch_loss(
        self,
        labels: Any,
        embeddings: Any,
        sample_weight: Any = None,
        ref_labels: Any = None,
        ref_embeddings: Any = None,
    ) -> Any:
        """Compares the batch with itself and with the memory; see the base class."""
        self._check_built()
        remembered = self.loss(
            labels,
            embeddings,
            sample_weight,
            ref_labels=self._memory.labels,
            ref_embeddings=self._memory.embeddings,
        )
        return self.loss(labels, embeddings, sample_weight) + self.weight * remembered

    def update(self, labels: Any, embeddings: Any) -> None:
        """Puts a batch's labelled rows in place of the oldest ones; see the base class."""
        self._check_built()
        self._memory.remember(integer_labels(labels), embeddings)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "size": self.size,
            "weight": self.weight,
        }
