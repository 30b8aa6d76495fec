"""Division of images into splits by groups, such as the photographs that they were made from."""

from collections.abc import Mapping

import numpy as np

from keras_distill.errors import InputError


def group_split(groups: np.ndarray, shares: Mapping[str, float], *, seed: int = 0) -> np.ndarray:
    """Divides images so that all of a group are in one split.

    Args:
        groups: Name of the group of each image, `(n,)`.
        shares: Share of the groups by the name of the split; what is left over is `train`. Each
            gets a group at least.
        seed: Seed of the division, which depends on the names of the groups alone.

    Returns:
        The split of each image, `(n,)`.

    Raises:
        InputError: If nothing would be left to train on.

    Example:
        >>> groups = np.array(["a", "a", "b", "c", "d", "e"])
        >>> group_split(groups, {"test": 0.2}).tolist()
        ['train', 'train', 'train', 'test', 'train', 'train']
    """
    names = np.unique(groups)
    order = np.random.default_rng(seed).permutation(names)
    parts = np.full(len(groups), "train", "<U10")
    begin = 0
    for split, share in shares.items():
        if not share:
            continue
        end = begin + max(round(share * len(names)), 1)
        parts[np.isin(groups, order[begin:end])] = split
        begin = end
    if begin >= len(names):
        raise InputError(
            f"`groups` are {len(names)}, too few to set {', '.join(shares)} aside; give smaller "
            "shares, or more references."
        )
    return parts
