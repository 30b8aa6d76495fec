"""Probabilistic knowledge transfer (PKT)."""

from typing import Any

import keras
from keras import ops

from keras_distill.losses.teacher_loss import TeacherLoss
from keras_distill.losses.unit_rows import unit_rows

_EPSILON = 1e-7  # added to each probability, as in the reference


@keras.saving.register_keras_serializable("keras_distill")
class ProbabilisticTransfer(TeacherLoss):
    """Divergence of the student's probabilities of being neighbours from the teacher's.

    `L = mean_ij p^T_ij log((p^T_ij + 1e-7) / (p^S_ij + 1e-7))` with `p_ij = k_ij / sum_j k_ij` and
    `k_ij = (1 + cos(x_i, x_j)) / 2` ("Learning Deep Representations with Probabilistic Knowledge
    Transfer", ECCV 2018). As RepDistiller computes it, a row is among its own neighbours, and the
    mean is over all `n^2` entries; whether the paper does the same is unconfirmed. The lengths and
    the widths of the two embeddings may differ. A zero vector has cosine 0 to everything.
    RepDistiller gives this loss a weight of 30000.

    Args:
        reduction: `"mean"` as above, or `"sum"`, the sum of the rows' Kullback-Leibler divergences.
            A row of sample weight `w` counts as `w` equal rows, among the neighbours too; the mean
            is still over `n^2`.
        name: Name under which the value is reported.

    Example:
        >>> loss = ProbabilisticTransfer("sum")
        >>> float(loss([[1.0, 0.0], [0.0, 1.0]], [[2.0], [2.0]]))
        0.11...
    """

    def __init__(self, reduction: str = "mean", name: str = "pkt"):
        super().__init__(reduction=reduction, name=name)

    def call(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the scalar loss; see the base class."""
        if sample_weight is None:
            sample_weight = ops.ones_like(student_outputs[:, 0])
        teacher = _probabilities(teacher_outputs, sample_weight)
        student = _probabilities(student_outputs, sample_weight)
        losses = teacher * ops.log((teacher + _EPSILON) / (student + _EPSILON))
        losses *= sample_weight[:, None] * sample_weight[None, :]
        return ops.mean(losses) if self.reduction == "mean" else ops.sum(losses)


def _probabilities(embeddings: Any, sample_weight: Any) -> Any:
    units = unit_rows(embeddings)
    kernel = ops.maximum((1.0 + ops.matmul(units, ops.transpose(units))) / 2.0, 0.0)
    total = ops.sum(sample_weight * kernel, axis=1, keepdims=True)
    return kernel / ops.maximum(total, _EPSILON)
