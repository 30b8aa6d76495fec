"""Similarity-preserving loss."""

from typing import Any

import keras
from keras import ops

from keras_distill.losses.teacher_loss import TeacherLoss
from keras_distill.losses.unit_rows import unit_rows


@keras.saving.register_keras_serializable("keras_distill")
class SimilarityPreserving(TeacherLoss):
    """Difference between the student's and the teacher's rows of similarities.

    `L = |G^S - G^T|_F^2 / n^2`, where `G` is the Gram matrix `X X^T` of the batch, each row divided
    by its Euclidean length ("Similarity-Preserving Knowledge Distillation", ICCV
    2019). The scales and the widths of the two embeddings may differ. Rows whose similarities are
    all 0 stay 0. RepDistiller gives this loss a weight of 3000.

    Args:
        reduction: `"mean"` over the `n^2` entries as above, or `"sum"`. A row of sample weight `w`
            counts as `w` equal rows, in the lengths too; the mean is still over `n^2`.
        name: Name under which the value is reported.

    Example:
        >>> loss = SimilarityPreserving()
        >>> float(loss([[1.0, 0.0], [0.0, 1.0]], [[2.0], [2.0]]))
        0.29...
    """

    def __init__(self, reduction: str = "mean", name: str = "similarity"):
        super().__init__(reduction=reduction, name=name)

    def call(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the scalar loss; see the base class."""
        if sample_weight is None:
            sample_weight = ops.ones_like(student_outputs[:, 0])
        roots = ops.sqrt(sample_weight)  # in front of the lengths and of the squares below
        difference = unit_rows(roots * _gram(student_outputs)) - unit_rows(
            roots * _gram(teacher_outputs)
        )
        losses = sample_weight[:, None] * ops.square(difference)
        return ops.mean(losses) if self.reduction == "mean" else ops.sum(losses)


def _gram(embeddings: Any) -> Any:
    return ops.matmul(embeddings, ops.transpose(embeddings))
