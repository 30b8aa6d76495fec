"""Decoupled differential distillation (D3still)."""

from typing import Any

import keras
from keras import ops

from keras_distill.losses.teacher_loss import TeacherLoss
from keras_distill.losses.unit_rows import unit_rows

_ABSENT = -2.0  # below any cosine
_ITSELF = 2.0  # above any cosine
_EPSILON = 0.1  # of the relative difference, as in the authors' code


@keras.saving.register_keras_serializable("keras_distill")
class D3still(TeacherLoss):
    """Order and spacing of the teacher's nearest images, as the student's query sees them.

    With the cosines `p_ij = t_i.t_j` and `q_ij = s_i.t_j` of the teacher's and the student's query
    in a gallery of the teacher's vectors, the batch, and row `i`'s nearest other rows `N_i` by
    `p_ij`, at most `nearest - 1` of them,

    `r_ijk = ((q_ij - q_ik) - (p_ij - p_ik)) / (0.1 + |p_ij - p_ik|)` for `j, k` in `N_i`,

    `L = alpha |diag(p - q)| / n + mean_i (beta |W_i| + gamma |R_i|) / (nearest - 1)`

    where `W_i` holds the `r_ijk` of pairs that the student puts in the wrong order,
    `(q_ij - q_ik)(p_ij - p_ik) < 0`, and `R_i` those in the right order, `> 0`; `|.|` are Euclidean
    lengths, not their squares (Xie et al., "D3still: Decoupled Differential Distillation for
    Asymmetric Image Retrieval", CVPR 2024; values as on CUB, where its code adds cross-entropy and
    a hard triplet loss). Both embeddings must have the same width; the student then lives in the
    teacher's space and can query the teacher's gallery.

    As in the authors' code the row itself counts as the first of the `nearest`, and enters the
    first term alone. These choices are ours: the row is that one even if another has the same
    vector; of equally near rows the first ones are taken; a batch of fewer rows has fewer pairs,
    and the divisor stays; equal cosines have no order and count as neither.

    Args:
        nearest: Rows to look at, the row itself among them.
        alpha: Weight of the row itself.
        beta: Weight of the pairs in the wrong order.
        gamma: Weight of the pairs in the right order.
        reduction: `"mean"` as above, or `"sum"`, without `1 / n` in both terms. A sample weight
            multiplies the row's squares in the first term and its length in the second; rows of
            weight 0 are nobody's nearest.
        name: Name under which the value is reported.

    Raises:
        ValueError: If `nearest` leaves no pair.

    Example:
        >>> loss = D3still(nearest=3)
        >>> teacher = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]
        >>> float(loss(teacher, teacher))
        0.0
        >>> float(loss(teacher, teacher[::-1])) > 100
        True
    """

    needs_equal_widths = True

    def __init__(
        self,
        nearest: int = 10,
        alpha: float = 200.0,
        beta: float = 10.0,
        gamma: float = 2.0,
        *,
        reduction: str = "mean",
        name: str = "d3still",
    ):
        super().__init__(reduction=reduction, name=name)
        if nearest < 3:
            raise ValueError(
                f"D3still: `nearest={nearest}` must be 3 or more: the row itself and a pair."
            )
        self.nearest = nearest
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma

    def call(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the scalar loss; see the base class."""
        teacher, student = unit_rows(teacher_outputs), unit_rows(student_outputs)
        if sample_weight is None:
            sample_weight = ops.ones_like(student[:, 0])
        p = ops.matmul(teacher, ops.transpose(teacher))
        q = ops.matmul(student, ops.transpose(teacher))
        itself = ops.eye(ops.shape(p)[0], dtype="bool")
        present = ops.logical_and(sample_weight > 0, ops.logical_not(itself))
        order = ops.argsort(-ops.where(itself, _ITSELF, ops.where(present, p, _ABSENT)), axis=-1)
        others = order[:, 1 : self.nearest]
        near = ops.take_along_axis(ops.cast(present, "float32"), others, axis=1)
        p_near = ops.take_along_axis(p, others, axis=1)
        q_near = ops.take_along_axis(q, others, axis=1)
        expected = p_near[:, :, None] - p_near[:, None, :]
        found = q_near[:, :, None] - q_near[:, None, :]
        relative = (found - expected) / (_EPSILON + ops.abs(expected))
        relative *= near[:, :, None] * near[:, None, :]
        agreement = ops.sign(found) * ops.sign(expected)
        relations = self.beta * _length(ops.where(agreement < 0, relative, 0.0), (1, 2))
        relations += self.gamma * _length(ops.where(agreement > 0, relative, 0.0), (1, 2))
        own = ops.sum((student - teacher) * teacher, axis=-1)
        total = self.alpha * _length(ops.sqrt(sample_weight) * own, (0,))
        total += ops.sum(sample_weight * relations) / (self.nearest - 1)
        if self.reduction == "sum":
            return total
        return total / ops.cast(ops.shape(student)[0], "float32")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "nearest": self.nearest,
            "alpha": self.alpha,
            "beta": self.beta,
            "gamma": self.gamma,
        }


def _length(values: Any, axis: tuple[int, ...]) -> Any:
    """Euclidean length; its root has no gradient at 0, where the gradient is 0."""
    squared = ops.sum(ops.square(values), axis=axis)
    apart = squared != 0.0  # true for NaN, which must not count as equality
    return ops.where(apart, ops.sqrt(ops.where(apart, squared, 1.0)), 0.0)
