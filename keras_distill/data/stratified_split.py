"""Split of images with several labels, so that each label is divided in proportion."""

from collections.abc import Mapping

import numpy as np

from keras_distill.errors import InputError


def stratified_split(
    targets: np.ndarray, shares: Mapping[str, float], *, seed: int = 0
) -> np.ndarray:
    """Divides images so that each part has its share of the positives of each label.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the stratification of
    multi-label data", 2011): the images of the label with the fewest positives left are dealt
    first, each to the part that still lacks the most of this label; where parts lack as many, to
    the one that lacks the most images; then at random. Images without labels come last.

    Args:
        targets: Integers `(n, c)`; 1 is a positive, anything else is not.
        shares: Share of the images of each part, by its name, positive; they are scaled to sum
            to 1.
        seed: Seed of the order of the images and of the ties.

    Returns:
        The name of the part of each image, `(n,)`: the same for equal targets, shares and seed.

    Raises:
        InputError: If `targets` is no matrix, or `shares` has no or a negative share.

    Example:
        >>> import numpy as np
        >>> targets = np.eye(2, dtype=int).repeat(10, axis=0)
        >>> parts = stratified_split(targets, {"train": 0.8, "test": 0.2})
        >>> targets[parts == "test"].sum(axis=0)
        array([2, 2])
    """
    targets = np.asarray(targets)
    if targets.ndim != 2:
        raise InputError(f"`targets` has the shape {targets.shape}; give (images, labels).")
    share = np.array(list(shares.values()), np.float64)
    if not len(share) or not np.isfinite(share).all() or (share <= 0).any():
        raise InputError(f"`shares={dict(shares)}` must be positive, one or more.")
    share /= share.sum()
    random = np.random.default_rng(seed)
    order = random.permutation(len(targets))
    positive = targets[order] == 1
    left = positive.sum(axis=0)  # positives of each label that are not dealt yet
    lacking = np.outer(share, left)  # positives that each part still lacks, (parts, c)
    images = share * len(targets)  # images that each part still lacks
    part = np.full(len(targets), -1)

    def deal(row: int, label: int | None) -> None:
        wanted = images if label is None else lacking[:, label]
        best = np.flatnonzero(wanted >= wanted.max() - 1e-9)
        best = best[images[best] >= images[best].max() - 1e-9]
        chosen = best[random.integers(len(best))] if len(best) > 1 else best[0]
        part[row] = chosen
        images[chosen] -= 1
        lacking[chosen, positive[row]] -= 1
        left[positive[row]] -= 1

    while (left > 0).any():
        label = int(np.argmin(np.where(left > 0, left, np.iinfo(left.dtype).max)))
        for row in np.flatnonzero(positive[:, label] & (part < 0)):
            deal(int(row), label)
    for row in np.flatnonzero(part < 0):
        deal(int(row), None)
    names = np.empty(len(targets), np.array(list(shares)).dtype)
    names[order] = np.array(list(shares))[part]
    return names
