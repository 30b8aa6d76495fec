"""N-pairs loss."""

from typing import Any

import keras
from keras import ops

from keras_distill.losses.masked_logsumexp import masked_logsumexp
from keras_distill.losses.pair_masks import pair_masks
from keras_distill.losses.task_loss import TaskLoss


@keras.saving.register_keras_serializable("keras_distill")
class NPairs(TaskLoss):
    """Cross-entropy of distinguishing each positive from all negatives at once.

    `L_i = mean_{y_j = y_i} log(1 + sum_{y_k != y_i} exp(scale (e_i.e_k - e_i.e_j)))` ("Improved
    Deep Metric Learning with Multi-class N-pair Loss Objective", NeurIPS 2016). Given one reference
    of each class, it is the paper's loss; within a batch, every other row of a class is a positive.
    The paper's penalty on the length of embeddings is missing, because an embedder's have length 1.
    An anchor without positives or negatives has loss 0.

    Args:
        scale: Factor of the inner products. 1 as in the paper, whose embeddings have any length;
            products of unit vectors differ by at most 2, and need 10 to 30.
        name: Name under which the value is reported.

    Example:
        >>> loss = NPairs()
        >>> float(loss([0, 0, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
        0.208...
    """

    def __init__(self, scale: float = 1.0, name: str = "n_pairs"):
        super().__init__(name=name)
        self.scale = scale

    def call(
        self, labels: Any, embeddings: Any, ref_labels: Any = None, ref_embeddings: Any = None
    ) -> Any:
        """Computes the mean cross-entropy of each anchor; see the base class."""
        columns = embeddings if ref_embeddings is None else ops.cast(ref_embeddings, "float32")
        logits = self.scale * ops.matmul(embeddings, ops.transpose(columns))
        positive, negative = pair_masks(labels, ref_labels)
        others = masked_logsumexp(logits, negative, axis=1)
        losses = ops.where(positive, ops.softplus(others[:, None] - logits), 0.0)
        count = ops.sum(ops.cast(positive, "float32"), axis=1)
        return ops.sum(losses, axis=1) / ops.maximum(count, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "scale": self.scale}
