"""Loss of a linear projector between batch-normalised embeddings."""

from typing import Any

import keras
from keras import ops

from keras_distill.errors import InputError
from keras_distill.losses.teacher_loss import TeacherLoss

_FLOOR = 1e-6  # of the sum, whose logarithm is taken


@keras.saving.register_keras_serializable("keras_distill")
class Projector(TeacherLoss):
    """Logarithm of the fourth powers by which a projected student differs from its teacher.

    `L = log(1e-6 + sum_i sum_k (BN(s W)_ik - BN(t)_ik)^4)` over images and dimensions, with
    `BN(x) = (x - mean(x)) / sqrt(var(x) + epsilon)` by the statistics of the batch in each
    dimension, without affine part (Miles & Mikolajczyk, "Understanding the Role of the Projector in
    Knowledge Distillation", AAAI 2024, arXiv 2303.11098). The projector `W` is trained with the
    student but not part of it; it takes any widths, and a bias would change nothing. Means and
    variances weigh rows by the sample weight, as does the sum.

    Args:
        reduction: `"sum"`, the only one.
        epsilon: Added to the variances.
        teacher_dim: Width of the teacher's embedding; by default that of the `Distiller`'s teacher.
        name: Name under which the value is reported.

    Example:
        >>> import numpy as np
        >>> loss = Projector(teacher_dim=1)
        >>> loss.build(teacher_dim=1, student_dim=1)  # Distiller does it
        >>> loss.layer.set_weights([np.float32([[-2.0]])])
        >>> round(float(loss([[0.0], [1.0]], [[0.0], [1.0]])), 2)
        3.47
    """

    reductions = ("sum",)

    def __init__(
        self,
        reduction: str = "sum",
        epsilon: float = 1e-4,
        teacher_dim: int | None = None,
        name: str = "projector",
    ):
        super().__init__(reduction, name=name)
        self.epsilon = epsilon
        self.teacher_dim = teacher_dim

    def build(self, teacher_dim: int | None, student_dim: int) -> None:
        """Makes the projector; see the base class.

        Raises:
            InputError: If the teacher's width is not known, or is not `self.teacher_dim`.
        """
        known = self.teacher_dim or teacher_dim
        if known is None:
            raise InputError(
                f"`teacher`: the loss {self.name} needs one whose width is known before it is run; "
                "in Python, Projector(teacher_dim=...) gives it."
            )
        if teacher_dim not in (None, known):
            raise InputError(
                f"`teacher_dim={known}`: the teacher's embedding has width {teacher_dim}."
            )
        self.teacher_dim = known
        if self.layer is None:
            self.layer = keras.layers.Dense(
                known, use_bias=False, dtype="float32", name=f"{self.name}_projector"
            )
            self.layer.build((None, student_dim))

    def call(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the loss; see the base class."""
        self._check_built()
        projector: Any = self.layer
        if teacher_outputs.shape[-1] != self.teacher_dim:  # it might be broadcast
            raise ValueError(
                f"{self.name}: the teacher's embedding has width {teacher_outputs.shape[-1]}; the "
                f"projector was made for {self.teacher_dim}."
            )
        if sample_weight is None:
            sample_weight = ops.ones_like(student_outputs[:, 0])
        weights = sample_weight[:, None]
        projected = projector(student_outputs)
        apart = self._normalized(projected, weights) - self._normalized(teacher_outputs, weights)
        return ops.log(_FLOOR + ops.sum(weights * ops.square(ops.square(apart))))

    def _normalized(self, vectors: Any, weights: Any) -> Any:
        """Batch normalisation by the weighted statistics of the batch."""
        total = ops.sum(weights)
        total = ops.where(total > 0.0, total, 1.0)
        centred = vectors - ops.sum(weights * vectors, axis=0) / total
        variance = ops.sum(weights * ops.square(centred), axis=0) / total
        return centred * ops.rsqrt(variance + self.epsilon)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "teacher_dim": self.teacher_dim,
        }
