"""Which pairs of rows are positives and which are negatives."""

from typing import Any

from keras import ops


def class_masks(labels: Any, ref_labels: Any = None) -> tuple[Any, Any]:
    """Compares the class of every anchor with that of every reference.

    Args:
        labels: Integer tensor `(n,)`.
        ref_labels: Integer tensor `(m,)`; `None` for `labels`. Those of -1 are in no mask.

    Returns:
        Boolean tensors `(n, m)`: the pairs of one class, an anchor with itself among them, and the
        pairs of two classes.
    """
    ref_labels = labels if ref_labels is None else ref_labels
    labelled = ref_labels[None, :] >= 0
    same = labels[:, None] == ref_labels[None, :]
    return ops.logical_and(same, labelled), ops.logical_and(ops.logical_not(same), labelled)
