"""Embedding loss of "It's All in the Head"."""

from typing import Any

import keras
from keras import ops

from keras_distill.losses.teacher_loss import TeacherLoss
from keras_distill.losses.unit_rows import unit_rows


@keras.saving.register_keras_serializable("keras_distill")
class KdeTeacher(TeacherLoss):
    """Squared distance between the student's and the teacher's embedding on the unit sphere.

    `L = sum_i |s_i/|s_i| - t_i/|t_i||^2 = sum_i (2 - 2 cos_i)`, the loss called KDE in the code of
    "It's All in the Head" (arXiv 2201.06945): a sum, which grows with the batch, so a weight
    belongs to a batch size. Both embeddings must have the same width; the student then lives in
    the teacher's space. A zero vector stays 0 with gradient 0, where the code's is of size 1e12.

    Args:
        reduction: `"sum"` over the batch, as in the code, or `"mean"`. A sample weight multiplies
            the row's loss.
        name: Name under which the value is reported.

    Example:
        >>> loss = KdeTeacher()
        >>> float(loss([[1.0, 0.0], [2.0, 0.0]], [[0.0, 3.0], [5.0, 0.0]]))
        2.0
    """

    reductions = ("sum", "mean")
    needs_equal_widths = True

    def __init__(self, reduction: str = "sum", name: str = "kde"):
        super().__init__(reduction=reduction, name=name)

    def call(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the scalar loss; see the base class."""
        difference = unit_rows(student_outputs) - unit_rows(teacher_outputs)
        losses = ops.sum(ops.square(difference), axis=-1)
        if sample_weight is not None:
            losses *= sample_weight
        return ops.mean(losses) if self.reduction == "mean" else ops.sum(losses)
