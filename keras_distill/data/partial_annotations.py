"""Simulated partial annotation of images with several labels."""

import numpy as np

from keras_distill.errors import InputError

_BLOCK = 1 << 24  # random numbers at a time


def keep_annotations_per_class(targets: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Keeps some annotations of each class, drawn at random, and forgets the others.

    "Fixed per class" of CSL (CVPR 2022, arXiv 2110.10955), where `count` is 1000 on COCO. A class
    is drawn from by `(seed, class)`, whatever the others are.

    Args:
        targets: int8 array `(images, classes)`: 1 for a true label, 0 for a false one, -1 for one
            that is not annotated.
        count: The most true labels, and the most false ones, that are kept of a class.
        seed: Seed of the draws, 0 or more.

    Returns:
        A copy with -1 in place of what is forgotten.

    Raises:
        InputError: If the targets are of another kind, or the number is negative.

    Example:
        >>> import numpy as np
        >>> targets = np.int8([[1, 0], [1, 0], [0, 1]])
        >>> (keep_annotations_per_class(targets, 1, seed=0) >= 0).sum(axis=0).tolist()
        [2, 2]
    """
    kept = _copied(targets)
    if count < 0:
        raise InputError(f"`count={count}` must be 0 or more.")
    for place in range(kept.shape[1]):
        random = np.random.default_rng([seed, place])
        column = kept[:, place]
        for value in (1, 0):
            images = np.flatnonzero(column == value)
            if len(images) > count:
                column[random.permutation(images)[count:]] = -1
    return kept


def drop_annotations(targets: np.ndarray, probability: float, seed: int) -> np.ndarray:
    """Forgets each annotation with the same probability.

    "Random per sample" of CSL (CVPR 2022, arXiv 2110.10955), where the probability is 0.5.

    Args:
        targets: int8 array `(images, classes)`, as of `keep_annotations_per_class`.
        probability: From 0 to 1.
        seed: Seed of the draws, 0 or more.

    Returns:
        A copy with -1 in place of what is forgotten.

    Raises:
        InputError: If the targets are of another kind, or the probability is out of range.

    Example:
        >>> import numpy as np
        >>> drop_annotations(np.zeros((2, 3), np.int8), 1.0, seed=0).tolist()
        [[-1, -1, -1], [-1, -1, -1]]
    """
    kept = _copied(targets)
    if not 0 <= probability <= 1:
        raise InputError(f"`probability={probability}` must be from 0 to 1.")
    random = np.random.default_rng(seed)
    rows = max(_BLOCK // max(kept.shape[1], 1), 1)
    for start in range(0, len(kept), rows):
        block = kept[start : start + rows]
        block[random.random(block.shape) < probability] = -1
    return kept


def _copied(targets: np.ndarray) -> np.ndarray:
    values = np.asarray(targets)
    if values.ndim != 2 or values.dtype != np.int8 or not ((values >= -1) & (values <= 1)).all():
        raise InputError(
            f"`targets` must be int8 (images, classes) of 1, 0 and -1, not {values.dtype} "
            f"{values.shape}."
        )
    return values.copy()
