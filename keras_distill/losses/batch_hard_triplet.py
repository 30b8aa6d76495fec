"""Batch-hard triplet loss."""

from typing import Any, Literal

import keras
from keras import ops

from keras_distill.losses.pair_masks import pair_masks_of_all_rows
from keras_distill.losses.pairwise_distances import pairwise_distances
from keras_distill.losses.task_loss import TaskLoss

_FAR = 1e9  # stands for "no such row": larger than any distance, finite in float32


@keras.saving.register_keras_serializable("keras_distill")
class BatchHardTriplet(TaskLoss):
    """Triplet loss on the farthest positive and the nearest negative of each anchor.

    `L = mean_i max(0, max_{y_j = y_i} d_ij - min_{y_j != y_i} d_ij + margin)` with Euclidean `d`,
    as in the code of "Learning Metrics from Teachers" (CVPR 2019); the idea is from "In Defense of
    the Triplet Loss" (arXiv 1703.07737). The anchor counts among its own positives, which matters
    only where its class has one row. An anchor without any negative, or without any positive among
    given references, has loss 0.

    The soft margin replaces `max(0, x + margin)` by `log(1 + exp(x))`, which keeps pulling and
    pushing where a margin would already be met.

    Args:
        margin: By how much the nearest negative must be farther than the farthest positive, in
            units of distance (unit vectors are at most 2 apart), or `"soft"`. 0 as in the
            reference.
        name: Name under which the value is reported.

    Example:
        >>> loss = BatchHardTriplet(margin=0.2)
        >>> float(loss([0, 0, 1, 1], [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]]))
        0.179...
        >>> float(BatchHardTriplet("soft")([0, 0, 1], [[1.0], [1.0], [1.0]]))
        0.693...
    """

    def __init__(self, margin: float | Literal["soft"] = 0.0, name: str = "triplet"):
        if isinstance(margin, str) and margin != "soft":
            raise ValueError(
                f"BatchHardTriplet: `margin={margin!r}` is neither a number nor 'soft'."
            )
        super().__init__(name=name)
        self.margin = margin

    def call(
        self, labels: Any, embeddings: Any, ref_labels: Any = None, ref_embeddings: Any = None
    ) -> Any:
        """Computes the loss of each anchor; see the base class."""
        distances = pairwise_distances(embeddings, ref_embeddings)
        positive, negative = pair_masks_of_all_rows(labels, ref_labels)
        farthest_positive = ops.max(ops.where(positive, distances, -_FAR), axis=1)
        nearest_negative = ops.min(ops.where(negative, distances, _FAR), axis=1)
        complete = ops.logical_and(ops.any(positive, axis=1), ops.any(negative, axis=1))
        excess = farthest_positive - nearest_negative
        if self.margin == "soft":
            losses = ops.softplus(excess)
        else:
            losses = ops.maximum(excess + self.margin, 0.0)
        return ops.where(complete, losses, 0.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "margin": self.margin}
