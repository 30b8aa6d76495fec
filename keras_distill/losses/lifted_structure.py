"""Lifted structure loss."""

from typing import Any

import keras
from keras import ops

from keras_distill.losses.masked_logsumexp import masked_logsumexp
from keras_distill.losses.mean_over_pairs import mean_over_pairs
from keras_distill.losses.pair_masks import pair_masks
from keras_distill.losses.pairwise_distances import pairwise_distances
from keras_distill.losses.task_loss import TaskLoss


@keras.saving.register_keras_serializable("keras_distill")
class LiftedStructure(TaskLoss):
    """Contrasts each pair of one class with the negatives of both its rows.

    `L = 1/2 mean_{y_j = y_i} max(0, J_ij)^2` with Euclidean `d` and `J_ij = d_ij +
    log(sum_{y_k != y_i} exp(margin - d_ik) + sum_{y_l != y_j} exp(margin - d_jl))`
    ("Deep Metric Learning via Lifted Structured Feature Embedding", CVPR 2016, arXiv 1511.06452).
    The negatives of a reference are those among the anchors. A pair without negatives has loss 0,
    and a sample weight multiplies the pairs of its anchor.

    Args:
        margin: How far the nearest negatives should be, in units of distance.
        name: Name under which the value is reported.

    Example:
        >>> loss = LiftedStructure()
        >>> float(loss([0, 0, 1], [[0.0], [0.5], [2.0]]))
        0.112...
    """

    def __init__(self, margin: float = 1.0, name: str = "lifted_structure"):
        super().__init__(name=name)
        self.margin = margin

    def call(
        self, labels: Any, embeddings: Any, ref_labels: Any = None, ref_embeddings: Any = None
    ) -> Any:
        """Computes each anchor's share of the mean; see the base class."""
        distances = pairwise_distances(embeddings, ref_embeddings)
        positive, negative = pair_masks(labels, ref_labels)
        shape = ops.shape(distances)
        of_anchor = masked_logsumexp(self.margin - distances, negative, axis=1)[:, None]
        of_positive = masked_logsumexp(self.margin - distances, negative, axis=0)[None, :]
        of_both = ops.logsumexp(
            ops.stack([ops.broadcast_to(part, shape) for part in (of_anchor, of_positive)]), axis=0
        )
        hinges = ops.where(positive, ops.maximum(distances + of_both, 0.0), 0.0)
        return mean_over_pairs(
            labels,
            ops.sum(ops.square(hinges), axis=1) / 2.0,
            ops.sum(ops.cast(positive, "float32"), axis=1),
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "margin": self.margin}
