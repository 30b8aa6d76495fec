"""Cosine teacher loss: the student's embedding should point where the teacher's does."""

from typing import Any

import keras
from keras import ops

from keras_distill.losses.teacher_loss import TeacherLoss
from keras_distill.losses.unit_rows import unit_rows


@keras.saving.register_keras_serializable("keras_distill")
class CosineTeacher(TeacherLoss):
    """One minus the cosine between the student's and the teacher's embedding of the same image.

    `L = mean_i (1 - s_i.t_i / (|s_i| |t_i|))`. The common form of this loss, which belongs to no
    single paper; `KdeTeacher` is twice its sum. Against `AbsoluteTeacher`, which on unit vectors is
    `sqrt(2 - 2 cos)`, the gradient fades as the student arrives. Both embeddings must have the
    same width; the student then lives in the teacher's space. A zero vector has cosine 0 to
    everything, with gradient 0.

    Args:
        reduction: `"mean"` over the batch, or `"sum"`. A sample weight multiplies the row's loss.
        name: Name under which the value is reported.

    Example:
        >>> loss = CosineTeacher()
        >>> float(loss([[1.0, 0.0]], [[5.0, 12.0]]))
        0.615...
    """

    needs_equal_widths = True

    def __init__(self, reduction: str = "mean", name: str = "cosine"):
        super().__init__(reduction=reduction, name=name)

    def call(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the scalar loss; see the base class."""
        losses = 1.0 - ops.sum(unit_rows(student_outputs) * unit_rows(teacher_outputs), axis=-1)
        if sample_weight is not None:
            losses *= sample_weight
        return ops.mean(losses) if self.reduction == "mean" else ops.sum(losses)
