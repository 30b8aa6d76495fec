"""Masks of positive pairs, rows of one class, and negative pairs, rows of two."""

from typing import Any

from keras import ops


def pair_masks(labels: Any, ref_labels: Any = None) -> tuple[Any, Any]:
    """Finds the pairs of labelled rows for the losses that go over all of them.

    Args:
        labels: Integer tensor `(n,)`.
        ref_labels: Integer tensor `(m,)`; `None` for `labels`, and no row is then paired with
            itself.

    Returns:
        Boolean tensors `(n, m)`: the pairs of one class and the pairs of two classes. Rows labelled
        -1 are in neither.
    """
    positive, negative = pair_masks_of_all_rows(labels, ref_labels)
    labelled = labels[:, None] >= 0
    if ref_labels is None:
        positive &= ~ops.eye(ops.shape(labels)[0], dtype="bool")
    return positive & labelled, negative & labelled


def pair_masks_of_all_rows(labels: Any, ref_labels: Any = None) -> tuple[Any, Any]:
    """Finds the pairs of all rows with labelled references, for losses that choose some of them.

    Args:
        labels: Integer tensor `(n,)`, of rows that may be labelled -1: they are paired too.
        ref_labels: Integer tensor `(m,)`; `None` for `labels`. References of -1 are in no mask.

    Returns:
        Boolean tensors `(n, m)`: the pairs of one class, a row with itself among them, and the
        pairs of two classes.
    """
    ref_labels = labels if ref_labels is None else ref_labels
    labelled = ref_labels[None, :] >= 0
    same = labels[:, None] == ref_labels[None, :]
    return ops.logical_and(same, labelled), ops.logical_and(ops.logical_not(same), labelled)
