"""Batch-all triplet loss."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_distill.losses.mean_over_pairs import mean_over_pairs
from keras_distill.losses.pair_masks import pair_masks
from keras_distill.losses.pairwise_distances import pairwise_distances
from keras_distill.losses.task_loss import TaskLoss

_FAR = float("inf")  # stands for "no such row" in a sorted row


@keras.saving.register_keras_serializable("keras_distill")
class BatchAllTriplet(TaskLoss):
    """Triplet loss of every anchor with every positive and every negative.

    `L = mean_{(i,j,k) active} (d_ij - d_ik + margin)` with Euclidean `d`, over the triplets with
    `y_j = y_i != y_k` that violate the margin; triplets that do not are left out of the mean
    too, because they would drown the others ("In Defense of the Triplet Loss", arXiv 1703.07737,
    where it is L_BA≠0). There are cubically many triplets, but the negatives of an anchor are
    sorted and summed up once, so memory grows with the square of the batch only. A sample weight
    multiplies the triplets of its anchor.

    Args:
        margin: By how much the negative must be farther than the positive, in units of distance.
        name: Name under which the value is reported.

    Example:
        >>> loss = BatchAllTriplet(margin=0.5)
        >>> float(loss([0, 0, 1, 1], [[0.0], [1.0], [1.2], [3.0]]))
        1.02...
    """

    def __init__(self, margin: float = 0.2, name: str = "triplet"):
        super().__init__(name=name)
        self.margin = margin

    def call(
        self, labels: Any, embeddings: Any, ref_labels: Any = None, ref_embeddings: Any = None
    ) -> Any:
        """Computes each anchor's share of the mean; see the base class."""
        distances = pairwise_distances(embeddings, ref_embeddings)
        positive, negative = pair_masks(labels, ref_labels)
        ordered = ops.sort(ops.where(negative, distances, _FAR), axis=1)
        count = ops.sum(ops.cast(negative, "int32"), axis=1, keepdims=True)
        limits = distances + self.margin
        active = ops.minimum(tf.searchsorted(ordered, limits, side="left"), count)
        present = ops.arange(ops.shape(ordered)[1])[None, :] < count
        sums = ops.pad(ops.cumsum(ops.where(present, ordered, 0.0), axis=1), ((0, 0), (1, 0)))
        # sum over the nearest `active` negatives k of (d_ij + margin - d_ik)
        hinges = ops.cast(active, "float32") * limits - ops.take_along_axis(sums, active, axis=1)
        return mean_over_pairs(
            labels,
            ops.sum(ops.where(positive, hinges, 0.0), axis=1),
            ops.sum(ops.where(positive, active, 0), axis=1),
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "margin": self.margin}
