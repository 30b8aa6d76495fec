"""Multi-similarity loss."""

from typing import Any

import keras
from keras import ops

from keras_distill.losses.masked_logsumexp import masked_logsumexp
from keras_distill.losses.pair_masks import pair_masks
from keras_distill.losses.task_loss import TaskLoss
from keras_distill.losses.unit_rows import unit_rows

_FAR = 1e9  # stands for "no such row": beyond any cosine, finite in float32


@keras.saving.register_keras_serializable("keras_distill")
class MultiSimilarity(TaskLoss):
    """Weighs every mined pair by its own similarity and the similarities of the anchor's others.

    With the cosine `s`, an anchor `i`, its positives `P` and negatives `N`,

        `L_i = 1/alpha log(1 + sum_{j in P} exp(-alpha (s_ij - base)))`
        `    + 1/beta log(1 + sum_{k in N} exp(beta (s_ik - base)))`

    ("Multi-Similarity Loss with General Pair Weighting", CVPR 2019, arXiv 1904.06627). Mining keeps
    the positives that are less similar than the nearest negative plus `epsilon`, and the negatives
    that are more similar than the farthest positive minus `epsilon`; an anchor that has none, or no
    positive or no negative at all, has loss 0.

    Args:
        alpha: Sharpness of the weights of the positives.
        beta: Sharpness of the weights of the negatives.
        base: Similarity that separates positives from negatives.
        epsilon: Tolerance of the mining, in units of the cosine; `None` to use all pairs.
        name: Name under which the value is reported.

    Example:
        >>> loss = MultiSimilarity()
        >>> float(loss([0, 0, 1], [[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]))
        0.226...
    """

    def __init__(
        self,
        alpha: float = 2.0,
        beta: float = 50.0,
        base: float = 0.5,
        epsilon: float | None = 0.1,
        name: str = "multi_similarity",
    ):
        super().__init__(name=name)
        self.alpha = alpha
        self.beta = beta
        self.base = base
        self.epsilon = epsilon

    def call(
        self, labels: Any, embeddings: Any, ref_labels: Any = None, ref_embeddings: Any = None
    ) -> Any:
        """Computes the loss of each anchor; see the base class."""
        rows = unit_rows(embeddings)
        columns = rows if ref_embeddings is None else unit_rows(ref_embeddings)
        similarities = ops.matmul(rows, ops.transpose(columns))
        positive, negative = pair_masks(labels, ref_labels)
        if self.epsilon is not None:
            farthest = ops.min(ops.where(positive, similarities, _FAR), axis=1, keepdims=True)
            nearest = ops.max(ops.where(negative, similarities, -_FAR), axis=1, keepdims=True)
            # negated, so that NaN is kept and seen
            positive &= ~(similarities >= nearest + self.epsilon)
            negative &= ~(similarities <= farthest - self.epsilon)
        pull = masked_logsumexp(self.alpha * (self.base - similarities), positive, axis=1)
        push = masked_logsumexp(self.beta * (similarities - self.base), negative, axis=1)
        return ops.softplus(pull) / self.alpha + ops.softplus(push) / self.beta

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "beta": self.beta,
            "base": self.base,
            "epsilon": self.epsilon,
        }
