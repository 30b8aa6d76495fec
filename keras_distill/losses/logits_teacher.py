"""Knowledge distillation: the student's classes are learned from the teacher's logits."""

from typing import Any

import keras
from keras import ops

from keras_distill.losses.class_divergence import checked_temperature, class_divergence
from keras_distill.losses.teacher_loss import TeacherLoss


@keras.saving.register_keras_serializable("keras_distill")
class LogitsTeacher(TeacherLoss):
    """Divergence of the student's distribution over classes from the teacher's.

    `L = T^2 / n sum_i sum_c p_ic log(p_ic / q_ic)` with `p = softmax(teacher / T)`,
    `q = softmax(student / T)`, for images of one class each ("Distilling the Knowledge in a Neural
    Network", 2015, arXiv 1503.02531): a sum over classes and a mean over the batch, as in the code
    of "It's All in the Head" (arXiv 2201.06945). For several labels an image see
    `LabelDistillation`.

    Args:
        temperature: `T`; a higher one gives the improbable classes more part.
        reduction: `"mean"` over the batch, or `"sum"`. A sample weight multiplies the row's loss.
        name: Name under which the value is reported.

    Raises:
        InputError: If the temperature is not positive.

    Example:
        >>> loss = LogitsTeacher(temperature=1.0)
        >>> round(float(loss([[0.0, 0.0]], [[2.0, 0.0]])), 4)
        0.4338
    """

    needs_equal_widths = True

    def __init__(self, temperature: float = 4.0, reduction: str = "mean", name: str = "kd"):
        super().__init__(reduction=reduction, name=name)
        self.temperature = checked_temperature(type(self).__name__, temperature)

    def call(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the scalar loss; see the base class."""
        losses = class_divergence(teacher_outputs, student_outputs, self.temperature)
        if sample_weight is not None:
            losses *= sample_weight
        return ops.mean(losses) if self.reduction == "mean" else ops.sum(losses)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {"temperature": self.temperature, **super().get_config()}
