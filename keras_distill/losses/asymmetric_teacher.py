"""Asymmetric loss: the student should be like the teacher towards the teacher and itself."""

from typing import Any

import keras
from keras import ops

from keras_distill.losses.teacher_loss import TeacherLoss
from keras_distill.losses.unit_rows import unit_rows


@keras.saving.register_keras_serializable("keras_distill")
class AsymmetricTeacher(TeacherLoss):
    """Squared differences between the teacher's similarities and those that the student is part of.

    `L = mean_i (1 - s_i.t_i)^2 + cross_weight mean_{i != j} (s_i.t_j - t_i.t_j)^2
    + own_weight mean_{i != j} (s_i.s_j - t_i.t_j)^2`

    of rows of length 1: the student's query in the teacher's gallery, for the image itself and for
    the others, and in a gallery of its own (the three terms of RAML, "Regression and Asymmetric
    Metric Learning", for asymmetric retrieval; weights 0.77 and 0.67 on CUB). Both embeddings must
    have the same width; the student then lives in the teacher's space and can query the teacher's
    gallery. A zero vector has cosine 0 to everything, with gradient 0.

    Args:
        cross_weight: Weight of the second term, between the student and the teacher of other
            images.
        own_weight: Weight of the third term, among the student's vectors.
        reduction: `"mean"`: the first mean is over the `n` rows, the others over the `n (n - 1)`
            pairs; or `"sum"` in place of all three. A row weighs its sample weight, a pair the
            product of its rows'.
        name: Name under which the value is reported.

    Example:
        >>> loss = AsymmetricTeacher(cross_weight=0.5, own_weight=0.25)
        >>> teacher = [[1.0, 0.0], [0.0, 1.0]]
        >>> float(loss(teacher, teacher))
        0.0
        >>> float(loss(teacher, [[2.0, 0.0], [3.0, 0.0]]))  # 1/2 + 0.5 1/2 + 0.25
        1.0
    """

    needs_equal_widths = True

    def __init__(
        self,
        cross_weight: float = 0.77,
        own_weight: float = 0.67,
        *,
        reduction: str = "mean",
        name: str = "asymmetric",
    ):
        super().__init__(reduction=reduction, name=name)
        self.cross_weight = cross_weight
        self.own_weight = own_weight

    def call(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the scalar loss; see the base class."""
        teacher, student = unit_rows(teacher_outputs), unit_rows(student_outputs)
        if sample_weight is None:
            sample_weight = ops.ones_like(student[:, 0])
        columns = ops.transpose(teacher)
        expected = ops.matmul(teacher, columns)
        cross = ops.square(ops.matmul(student, columns) - expected)
        own = ops.square(ops.matmul(student, ops.transpose(student)) - expected)
        rows = ops.cast(ops.shape(student)[0], "float32")
        pairs = (1.0 - ops.eye(ops.shape(student)[0])) * sample_weight[:, None] * sample_weight
        same = sample_weight * ops.square(1.0 - ops.sum(student * teacher, axis=-1))
        of_pairs = ops.sum(pairs * (self.cross_weight * cross + self.own_weight * own))
        if self.reduction == "sum":
            return ops.sum(same) + of_pairs
        return ops.sum(same) / rows + of_pairs / ops.maximum(rows * (rows - 1.0), 1.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "cross_weight": self.cross_weight,
            "own_weight": self.own_weight,
        }
