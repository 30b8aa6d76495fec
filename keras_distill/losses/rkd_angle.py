"""Relational knowledge distillation of angles."""

from typing import Any

import keras
from keras import ops

from keras_distill.losses.teacher_loss import TeacherLoss

_RESOLUTION = 1e-6  # of a squared distance, relative to the squared lengths it is computed from
_SHORTEST = 1e-12


@keras.saving.register_keras_serializable("keras_distill")
class RkdAngle(TeacherLoss):
    """Difference between the student's and the teacher's angles within all triplets of the batch.

    `L = mean_ijk h(a^S_ijk - a^T_ijk)` with `a_ijk` the cosine of the angle at `x_i` between
    `x_j - x_i` and `x_k - x_i`, 0 where one of them is 0, and the Huber function `h(x) = x^2 / 2`
    up to 1, `|x| - 1/2` beyond (RKD-A of "Relational Knowledge Distillation", CVPR 2019). The mean
    is over all `n^3` entries, as in the authors' code. The widths of the two embeddings may differ.

    Time and memory grow with the cube of the batch, not with the width: the angles come from the
    Gram matrix, and each of about a dozen tensors takes 1 MB at 64 rows and 8 MB at 128. In float32
    that resolves about a thousandth of a row's distance from the mean of the batch; rows closer to
    each other count as equal.

    The authors' example uses the weights 1 for `RkdDistance` and 2 for this loss, RepDistiller 25
    and 50.

    Args:
        reduction: `"mean"` as above, or `"sum"`. A triplet weighs the product of its rows' sample
            weights; the mean is still over `n^3`.
        name: Name under which the value is reported.

    Example:
        >>> loss = RkdAngle()
        >>> float(loss([[0.0], [1.0], [2.0]], [[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]))
        0.043...
    """

    def __init__(self, reduction: str = "mean", name: str = "rkd_angle"):
        super().__init__(reduction=reduction, name=name)

    def call(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the scalar loss; see the base class."""
        losses = keras.losses.huber(
            _cosines(teacher_outputs)[..., None], _cosines(student_outputs)[..., None]
        )
        if sample_weight is not None:
            pairs = sample_weight[:, None] * sample_weight[None, :]
            losses *= pairs[:, :, None] * sample_weight
        return ops.mean(losses) if self.reduction == "mean" else ops.sum(losses)


def _cosines(embeddings: Any) -> Any:
    """Cosines `(n, n, n)`; the first axis is the vertex of the angle."""
    # Angles do not change with the origin; around the mean, the Gram matrix is most precise.
    centred = embeddings - ops.stop_gradient(ops.mean(embeddings, axis=0))
    gram = ops.matmul(centred, ops.transpose(centred))
    squares = ops.diagonal(gram)
    sums = squares[:, None] + squares[None, :]
    distances = sums - 2.0 * gram
    equal = distances <= ops.maximum(_RESOLUTION * sums, _SHORTEST**2)
    inverse = ops.where(equal, 0.0, ops.rsqrt(ops.where(equal, 1.0, distances)))
    products = gram[None] - gram[:, :, None] - gram[:, None, :] + squares[:, None, None]
    return products * inverse[:, :, None] * inverse[:, None, :]
