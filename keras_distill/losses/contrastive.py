"""Contrastive loss."""

from typing import Any

import keras
from keras import ops

from keras_distill.losses.mean_over_pairs import mean_over_pairs
from keras_distill.losses.pair_masks import pair_masks
from keras_distill.losses.pairwise_distances import pairwise_distances
from keras_distill.losses.task_loss import TaskLoss


@keras.saving.register_keras_serializable("keras_distill")
class Contrastive(TaskLoss):
    """Pulls the rows of one class within one distance and pushes others beyond another.

    With Euclidean `d`, `L = mean_{y_j = y_i} (d_ij - positive_margin) + mean_{y_k != y_i}
    (negative_margin - d_ik)`, each mean over the pairs for which the difference is positive
    ("Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006, without its squares, as
    in PyTorch Metric Learning). A sample weight multiplies the pairs of its anchor.
    `CrossBatchMemory` was proposed with this loss.

    Args:
        positive_margin: The distance that is near enough for rows of one class.
        negative_margin: The distance that is far enough for rows of two classes.
        name: Name under which the value is reported.

    Example:
        >>> loss = Contrastive()
        >>> float(loss([0, 0, 1], [[0.0], [0.5], [1.25]]))
        0.75
    """

    def __init__(
        self,
        positive_margin: float = 0.0,
        negative_margin: float = 1.0,
        name: str = "contrastive",
    ):
        super().__init__(name=name)
        self.positive_margin = positive_margin
        self.negative_margin = negative_margin

    def call(
        self, labels: Any, embeddings: Any, ref_labels: Any = None, ref_embeddings: Any = None
    ) -> Any:
        """Computes each anchor's share of the means; see the base class."""
        distances = pairwise_distances(embeddings, ref_embeddings)
        positive, negative = pair_masks(labels, ref_labels)
        losses = 0.0
        for mask, excess in (
            (positive, distances - self.positive_margin),
            (negative, self.negative_margin - distances),
        ):
            hinges = ops.where(mask, ops.maximum(excess, 0.0), 0.0)
            active = ops.cast(hinges > 0.0, "float32")
            losses += mean_over_pairs(labels, ops.sum(hinges, axis=1), ops.sum(active, axis=1))
        return losses

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "positive_margin": self.positive_margin,
            "negative_margin": self.negative_margin,
        }
