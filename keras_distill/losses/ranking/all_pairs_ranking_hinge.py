"""Ranking hinge over all pairs of a group, from one forward pass."""

from typing import Any

import keras
from keras import ops

from keras_distill.errors import InputError
from keras_distill.losses.labels.label_loss import LabelLoss

#: What the sum over the pairs is divided by.
NORMALISATIONS = ("rows", "pairs", "sum")


@keras.saving.register_keras_serializable("keras_distill")
class AllPairsRankingHinge(LabelLoss):
    """Hinge that orders the scores of each group by their levels.

    `L = 1/n sum_{i, j: g_i = g_j, l_i < l_j} max(0, margin - (s_i - s_j))`

    with levels `l`, groups `g`, scores `s`, and n rows: within a group, a row of a smaller level
    must score higher than one of a larger level, by the margin. Rows of equal levels are not
    compared, whatever images they show. (RankIQA, ICCV 2017, arXiv 1707.08347, as in its code,
    which divides by the number of rows; and the crowd counting of CVPR 2018, arXiv 1803.03095.)

    Each image passes the network once, and all pairs are formed on its outputs (the efficient
    Siamese): the gradient is that of a network of two branches that is shown each pair, at a
    fraction of its time.

    The margin is in the unit of the scores. 10 is the reference's, for an output without bounds,
    whose levels spread over tens of units. On a bounded score, give the margin that all levels
    have room for, at most `(highest - lowest) / (levels - 1)`: 0.2 for six levels from 0 to 1.
    For nested crops, whose counts may be equal, it is 0: a larger crop must not count fewer.

    Args:
        margin: By how much a better row must score higher.
        normalisation: What the sum over pairs is divided by: `"rows"` that are in a group, as in
            the reference; `"pairs"`, for a mean; `"sum"` for nothing.
        name: Name under which the value is reported.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> loss = AllPairsRankingHinge(margin=1.0)
        >>> levels, scores, groups = [0, 1, 2], [3.0, 2.5, 2.8], [7, 7, 7]
        >>> float(loss(levels, scores, groups))  # (0.5 + 0.8 + 1.3) / 3
        0.866...
    """

    def __init__(
        self,
        margin: float = 10.0,
        normalisation: str = "rows",
        *,
        name: str = "all_pairs_ranking_hinge",
    ):
        if not (isinstance(margin, int | float) and 0 <= margin < float("inf")):
            raise InputError(f"AllPairsRankingHinge: `margin={margin}` must be 0 or more.")
        if normalisation not in NORMALISATIONS:
            raise InputError(
                f"AllPairsRankingHinge: `normalisation={normalisation!r}` is not one of "
                f"{', '.join(map(repr, NORMALISATIONS))}."
            )
        super().__init__("sum" if normalisation == "sum" else "mean", name)
        self.margin = float(margin)
        self.normalisation = normalisation

    def __call__(  # type: ignore[override]
        self, levels: Any, scores: Any, groups: Any = None, sample_weight: Any = None
    ) -> Any:
        """Computes the loss of a batch, or a replica's part of it, of its own pairs.

        Args:
            levels: Integers `(n,)`: the smaller, the higher the row must score. Or `(n, 2)`, the
                level and the group of each row, as `compile` and `Supervised` pass them on; what
                follows the scores is the sample weight then.
            scores: Tensor `(n,)` or `(n, 1)`.
            groups: Integers `(n,)`; rows of different groups are not compared, rows of a negative
                group with none at all. All rows are one group if it is left out.
            sample_weight: Optional tensor `(n,)`; a pair weighs the product of its rows' weights.

        Returns:
            Scalar float32 tensor.
        """
        levels = ops.convert_to_tensor(levels)
        if len(levels.shape) == 2 and levels.shape[-1] == 2:
            weight = groups if sample_weight is None else sample_weight
            return super().__call__(levels, scores, weight)
        if groups is None:
            groups = ops.zeros_like(levels)
        levels, groups = (ops.cast(ops.reshape(each, [-1]), "int64") for each in (levels, groups))
        return super().__call__(ops.stack([levels, groups], axis=1), scores, sample_weight)

    def total_and_count(self, targets: Any, outputs: Any, sample_weight: Any) -> tuple[Any, Any]:
        """Computes the sum over the pairs, and what it is divided by; see the base class.

        Args:
            targets: Integers `(n, 2)`, level and group.
            outputs: float32 tensor `(n,)` or `(n, 1)`.
            sample_weight: float32 tensor `(n,)`, or `None`.

        Returns:
            Two scalar float32 tensors.

        Raises:
            InputError: If the shapes do not fit.
        """
        if len(targets.shape) != 2 or targets.shape[-1] != 2 or _row_size(outputs) != 1:
            raise InputError(
                f"{self.name}: levels and groups have the shape {tuple(targets.shape)}, scores "
                f"{tuple(outputs.shape)}; give levels `(n,)` and groups `(n,)`, or both as "
                "`(n, 2)`, and scores `(n,)`."
            )
        levels, groups = targets[:, 0], targets[:, 1]
        scores = ops.reshape(outputs, [-1])
        compared = (
            (levels[:, None] < levels[None, :])
            & (groups[:, None] == groups[None, :])
            & (groups[:, None] >= 0)
        )
        # The difference of a pair that does not count may be infinite, and its gradient NaN.
        difference = ops.where(compared, scores[:, None] - scores[None, :], self.margin)
        hinges = ops.where(compared, ops.relu(self.margin - difference), 0.0)
        if sample_weight is not None:
            weights = ops.reshape(sample_weight, [-1])
            hinges = hinges * (weights[:, None] * weights[None, :])
        counted = compared if self.normalisation == "pairs" else groups >= 0
        return ops.sum(hinges), ops.sum(ops.cast(counted, "float32"))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {"margin": self.margin, "normalisation": self.normalisation, "name": self.name}


def _row_size(outputs: Any) -> int | None:
    """The entries of a row; `None` if they are not known."""
    size = 1
    for length in outputs.shape[1:]:
        if length is None:
            return None
        size *= length
    return size
