"""Relative teacher loss: the student should keep the teacher's distances."""

from typing import Any

import keras
from keras import ops

from keras_distill.losses.pairwise_distances import pairwise_distances
from keras_distill.losses.teacher_loss import TeacherLoss


@keras.saving.register_keras_serializable("keras_distill")
class RelativeTeacher(TeacherLoss):
    """Difference between the student's and the teacher's distances within the batch.

    With the Euclidean distance matrices `d^S` and `d^T` of the batch, `L = |d^S - d^T|_F` (L_rel
    of "Learning Metrics from Teachers", CVPR 2019, as its code computes it: the Frobenius norm of
    the whole matrix, each pair counted twice, not divided by anything). It grows about linearly
    with the batch size, so a weight belongs to a batch size: the published ones to 32. The
    widths of the two embeddings may differ.

    Args:
        reduction: `"frobenius"` as above; `"sum"` or `"mean"` of the absolute differences over
            the `n (n - 1)` ordered pairs, of which the mean does not depend on the batch size.
        name: Name under which the value is reported.

    Example:
        >>> loss = RelativeTeacher()
        >>> float(loss([[0.0], [1.0]], [[0.0, 0.0], [0.0, 3.0]]))
        2.828...
    """

    reductions = ("frobenius", "mean", "sum")

    def __init__(self, reduction: str = "frobenius", name: str = "relative"):
        super().__init__(reduction=reduction, name=name)

    def call(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the scalar loss; see the base class. A pair weighs the product of its rows."""
        difference = pairwise_distances(student_outputs) - pairwise_distances(teacher_outputs)
        if sample_weight is None:
            sample_weight = ops.ones_like(difference[0])
        weights = sample_weight[:, None] * sample_weight[None, :]
        if self.reduction == "frobenius":
            squared = ops.sum(weights * ops.square(difference))
            # The root has no gradient at 0; a student equal to its teacher gets 0, as in PyTorch.
            apart = squared != 0.0  # true for NaN, which must not count as equality
            return ops.where(apart, ops.sqrt(ops.where(apart, squared, 1.0)), 0.0)
        total = ops.sum(weights * ops.abs(difference))
        if self.reduction == "sum":
            return total
        rows = ops.cast(ops.shape(difference)[0], "float32")
        return total / ops.maximum(rows * (rows - 1.0), 1.0)
