"""Relaxed contrastive loss: the teacher says how much two images belong together."""

from typing import Any

import keras
from keras import ops

from keras_distill.losses.pairwise_distances import pairwise_distances
from keras_distill.losses.teacher_loss import TeacherLoss
from keras_distill.losses.unit_rows import unit_rows

_SHORTEST = 1e-6  # what `pairwise_distances` gives for equal rows


@keras.saving.register_keras_serializable("keras_distill")
class RelaxedContrastive(TeacherLoss):
    """Contrastive loss on relative distances, with the teacher's similarities in place of labels.

    `L = 1/n sum_{i != j} w_ij d_ij^2 + (1 - w_ij) max(0, delta - d_ij)^2`, with
    `w_ij = exp(-|t_i - t_j|^2 / sigma)` of the teacher's vectors, divided by their lengths, and
    `d_ij = |f_i - f_j| / (1/n sum_j |f_i - f_j|)` of the student's vectors *before* their
    normalisation, so that the student need not spend its vectors on a sphere (Kim et al.,
    "Embedding Transfer with Label Relaxation for Improved Metric Learning", CVPR 2021). The mean
    under the fraction goes over all rows, `i` itself among them, and the gradient flows through it
    too, as in the authors' code. The widths of the two embeddings may differ.

    `Distiller` gives this loss the vectors that enter the student's last layer if that divides them
    by their length. It was published for batches of two views of each image, without labels, and
    nothing else to learn from.

    Args:
        sigma: Width of the kernel, in squared distance.
        delta: Relative distance from which two images count as apart; 1 is their mean distance.
        reduction: `"mean"` over the rows as above, or `"sum"`. A pair weighs the product of its
            rows' sample weights, and a row its own in the mean distance; the mean is still over
            `n`.
        name: Name under which the value is reported.

    Raises:
        ValueError: If `sigma` or `delta` is not positive.

    Example:
        >>> loss = RelaxedContrastive()
        >>> teacher = [[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]
        >>> round(float(loss(teacher, [[0.0], [0.0], [3.0]])), 3)
        0.137
        >>> float(loss(teacher, [[0.0], [3.0], [0.0]])) > 2
        True
    """

    needs_unnormalised = True

    def __init__(
        self,
        sigma: float = 1.0,
        delta: float = 1.0,
        *,
        reduction: str = "mean",
        name: str = "relaxed_contrastive",
    ):
        super().__init__(reduction=reduction, name=name)
        for argument, value in (("sigma", sigma), ("delta", delta)):
            if not value > 0:
                raise ValueError(
                    f"RelaxedContrastive: `{argument}={value}` must be positive, such as 1."
                )
        self.sigma = sigma
        self.delta = delta

    def call(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the scalar loss; see the base class."""
        if sample_weight is None:
            sample_weight = ops.ones_like(student_outputs[:, 0])
        others = 1.0 - ops.eye(ops.shape(student_outputs)[0])
        together = ops.exp(-ops.square(pairwise_distances(unit_rows(teacher_outputs))) / self.sigma)
        apart = _relative_distances(student_outputs, others * sample_weight[None, :], sample_weight)
        losses = together * ops.square(apart)
        losses += (1.0 - together) * ops.square(ops.relu(self.delta - apart))
        total = ops.sum(others * sample_weight[:, None] * sample_weight[None, :] * losses)
        if self.reduction == "sum":
            return total
        return total / ops.cast(ops.shape(student_outputs)[0], "float32")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "sigma": self.sigma, "delta": self.delta}


def _relative_distances(rows: Any, weights: Any, sample_weight: Any) -> Any:
    # Distances do not change with the origin, but around the mean they are precise.
    distances = pairwise_distances(rows - ops.stop_gradient(ops.mean(rows, axis=0)))
    mean = ops.sum(weights * distances, axis=1, keepdims=True)
    mean /= ops.maximum(ops.sum(sample_weight), 1e-12)
    return distances / ops.maximum(mean, _SHORTEST)
