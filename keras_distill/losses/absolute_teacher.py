"""Absolute teacher loss: the student's embedding should be where the teacher's is."""

from typing import Any

import keras
from keras import ops

from keras_distill.losses.teacher_loss import TeacherLoss

_EPSILON = 1e-6  # added to each difference, as the reference's pairwise distance does


@keras.saving.register_keras_serializable("keras_distill")
class AbsoluteTeacher(TeacherLoss):
    """Distance between the student's and the teacher's embedding of the same image.

    `L = mean_i |s_i - t_i + 1e-6|`, the Euclidean distance and not its square (L_abs of "Learning
    Metrics from Teachers", CVPR 2019). Both embeddings must have the same width; the student then
    lives in the teacher's space and can query the teacher's gallery.

    Args:
        reduction: `"mean"` over the batch, as in the reference, or `"sum"`.
        name: Name under which the value is reported.

    Example:
        >>> loss = AbsoluteTeacher()
        >>> float(loss([[1.0, 0.0]], [[0.0, 1.0]]))
        1.414...
    """

    needs_equal_widths = True

    def __init__(self, reduction: str = "mean", name: str = "absolute"):
        super().__init__(reduction=reduction, name=name)

    def call(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the scalar loss; see the base class."""
        squared = ops.sum(ops.square(student_outputs - teacher_outputs + _EPSILON), axis=-1)
        losses = ops.sqrt(ops.maximum(squared, _EPSILON**4))
        if sample_weight is not None:
            losses *= sample_weight
        return ops.mean(losses) if self.reduction == "mean" else ops.sum(losses)
