"""Multi-label distillation: each label's probability is learned from the teacher."""

from typing import Any

import keras
from keras import ops

from keras_distill.errors import InputError
from keras_distill.losses.teacher_loss import TeacherLoss


@keras.saving.register_keras_serializable("keras_distill")
class LabelDistillation(TeacherLoss):
    """Divergence of the student's from the teacher's probability of each label, by itself.

    With `p = sigmoid(teacher / T)` and `q = sigmoid(student / T)`,

        loss = T^2 * mean over rows and labels of  p log(p / q) + (1 - p) log((1 - p) / (1 - q))

    the Kullback-Leibler divergence of two coins, 0 where both agree. Its gradient is that of the
    binary cross-entropy with the teacher's probabilities as targets; `T^2` keeps it at the same
    scale for any temperature. Logits of any size give finite values.

    Args:
        temperature: `T`; a higher one gives the improbable labels more part.
        reduction: `"mean"` over rows and labels, or `"sum"`.
        name: Name under which the value is reported.

    Raises:
        InputError: If the temperature is not positive.
        ValueError: If the reduction is unknown.

    Example:
        >>> loss = LabelDistillation()
        >>> float(loss([[2.0, -1.0]], [[2.0, -1.0]]))
        0.0
    """

    needs_equal_widths = True

    def __init__(
        self,
        temperature: float = 1.0,
        reduction: str = "mean",
        name: str = "label_distillation",
    ):
        super().__init__(reduction, name)
        if not temperature > 0:
            raise InputError(
                f"{type(self).__name__}: `temperature={temperature}` must be positive."
            )
        self.temperature = temperature

    def call(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the scalar loss; see the base class."""
        t, s = teacher_outputs / self.temperature, student_outputs / self.temperature
        p = ops.sigmoid(t)
        # log sigmoid(x) = -softplus(-x), so that no logarithm is taken of a probability of 0.
        present = p * (ops.softplus(-s) - ops.softplus(-t))
        absent = (1.0 - p) * (ops.softplus(s) - ops.softplus(t))
        losses = self.temperature**2 * (present + absent)
        if sample_weight is not None:
            losses = losses * sample_weight[:, None]
        return ops.sum(losses) if self.reduction == "sum" else ops.mean(losses)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {"temperature": self.temperature, **super().get_config()}
