"""Which pairs of different rows are positives and which are negatives."""

from typing import Any

from keras import ops

from keras_distill.losses.class_masks import class_masks


def pair_masks(labels: Any, ref_labels: Any = None) -> tuple[Any, Any]:
    """Finds the pairs of labelled rows for the losses that go over all of them.

    Args:
        labels: Integer tensor `(n,)`.
        ref_labels: Integer tensor `(m,)`; `None` for `labels`, and no row is then paired with
            itself.

    Returns:
        Boolean tensors `(n, m)`: the pairs of one class and those of two. Rows labelled -1 are in
        neither.
    """
    positive, negative = class_masks(labels, ref_labels)
    labelled = labels[:, None] >= 0
    if ref_labels is None:
        positive &= ~ops.eye(ops.shape(labels)[0], dtype="bool")
    return positive & labelled, negative & labelled
