"""Semi-hard triplet loss."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_distill.losses.pair_masks import pair_masks
from keras_distill.losses.pairwise_distances import pairwise_distances
from keras_distill.losses.task_loss import TaskLoss

_FAR = 1e9  # stands for "no such row": larger than any distance, finite in float32


@keras.saving.register_keras_serializable("keras_distill")
class SemiHardTriplet(TaskLoss):
    """Triplet loss of every positive with the nearest negative that is farther than it.

    For an anchor `i` and a positive `j`, the negative is the nearest `k` with `d_ik > d_ij`, or, if
    all negatives are nearer, the farthest of them; the loss of `i` is the mean over `j` of
    `max(0, d_ij - d_ik + margin)` with Euclidean `d` ("FaceNet", arXiv 1503.03832). Networks that
    start from random weights seldom collapse under it, as they do under `BatchHardTriplet`. Memory
    grows with the square of the batch. An anchor without positives or negatives has loss 0.

    Args:
        margin: By how much the negative must be farther than the positive, in units of distance.
        name: Name under which the value is reported.

    Example:
        >>> loss = SemiHardTriplet(margin=0.2)
        >>> float(loss([0, 0, 1], [[0.0], [1.0], [1.1]]))
        0.4...
    """

    def __init__(self, margin: float = 0.2, name: str = "triplet"):
        super().__init__(name=name)
        self.margin = margin

    def call(
        self, labels: Any, embeddings: Any, ref_labels: Any = None, ref_embeddings: Any = None
    ) -> Any:
        """Computes the mean hinge of each anchor; see the base class."""
        distances = pairwise_distances(embeddings, ref_embeddings)
        positive, negative = pair_masks(labels, ref_labels)
        ordered = ops.sort(ops.where(negative, distances, _FAR), axis=1)
        count = ops.sum(ops.cast(negative, "int32"), axis=1, keepdims=True)
        following = tf.searchsorted(ordered, distances, side="right")
        chosen = ops.maximum(ops.minimum(following, count - 1), 0)
        hinge = ops.maximum(
            distances - ops.take_along_axis(ordered, chosen, axis=1) + self.margin, 0.0
        )
        counted = ops.cast(positive & (count > 0), "float32")
        return ops.sum(hinge * counted, axis=1) / ops.maximum(ops.sum(counted, axis=1), 1.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "margin": self.margin}
