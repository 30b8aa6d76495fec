"""Means over pairs or triplets, expressed as losses of the anchors."""

from typing import Any

from keras import ops


def mean_over_pairs(labels: Any, sums: Any, counts: Any) -> Any:
    """Gives each anchor its share of a mean over pairs or triplets.

    The mean of the shares over the labelled rows, which `TaskLoss` takes, is
    `sum(sums) / sum(counts)`, or 0 if nothing was counted.

    Args:
        labels: Integer tensor `(n,)`; -1 for unlabelled, where `sums` and `counts` are 0.
        sums: Tensor `(n,)`, what the pairs of each anchor add up to.
        counts: Tensor `(n,)`, how many pairs of each anchor take part.

    Returns:
        float32 tensor `(n,)`.
    """
    anchors = ops.sum(ops.cast(labels >= 0, "float32"))
    return sums * anchors / ops.maximum(ops.sum(ops.cast(counts, "float32")), 1.0)
