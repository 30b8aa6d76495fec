"""Relational knowledge distillation of distances, up to their scale."""

from typing import Any

import keras
from keras import ops

from keras_distill.losses.pairwise_distances import pairwise_distances
from keras_distill.losses.teacher_loss import TeacherLoss

_SHORTEST = 1e-6  # what `pairwise_distances` gives for equal rows


@keras.saving.register_keras_serializable("keras_distill")
class RkdDistance(TeacherLoss):
    """Difference between the student's and the teacher's distances, each relative to their mean.

    `L = mean_ij h(d^S_ij / m^S - d^T_ij / m^T)` with the Euclidean distances `d` of the batch,
    their mean `m` over the pairs `i != j`, through which the gradient flows too, and the Huber
    function `h(x) = x^2 / 2` up to 1, `|x| - 1/2` beyond (RKD-D of "Relational Knowledge
    Distillation", CVPR 2019). The mean is over all `n^2` entries, as in the authors' code. Unlike
    `RelativeTeacher` it leaves the scale of the student's space free. The widths of the two
    embeddings may differ.

    The authors' example uses the weights 1 for this loss and 2 for `RkdAngle`, RepDistiller 25 and
    50.

    Args:
        reduction: `"mean"` as above, or `"sum"`. A pair weighs the product of its rows' sample
            weights, in `m` too; the mean is still over `n^2`.
        name: Name under which the value is reported.

    Example:
        >>> loss = RkdDistance()
        >>> float(loss([[0.0], [1.0], [2.0]], [[0.0, 0.0], [0.0, 3.0], [0.0, 6.0]]))
        0.0
    """

    def __init__(self, reduction: str = "mean", name: str = "rkd_distance"):
        super().__init__(reduction=reduction, name=name)

    def call(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the scalar loss; see the base class."""
        if sample_weight is None:
            sample_weight = ops.ones_like(student_outputs[:, 0])
        others = 1.0 - ops.eye(ops.shape(student_outputs)[0])
        weights = others * sample_weight[:, None] * sample_weight[None, :]
        losses = weights * keras.losses.huber(
            _relative_distances(teacher_outputs, weights)[..., None],
            _relative_distances(student_outputs, weights)[..., None],
        )
        return ops.mean(losses) if self.reduction == "mean" else ops.sum(losses)


def _relative_distances(embeddings: Any, weights: Any) -> Any:
    # Distances do not change with the origin, but around the mean they are precise even for a
    # student that has nearly collapsed into one point.
    distances = pairwise_distances(embeddings - ops.stop_gradient(ops.mean(embeddings, axis=0)))
    shares = weights / ops.maximum(ops.sum(weights), 1e-12)
    return distances / ops.maximum(ops.sum(shares * distances), _SHORTEST)
