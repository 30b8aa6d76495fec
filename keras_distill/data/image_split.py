"""Split of images of one class each, so that each class is divided in proportion."""

import math
from collections.abc import Mapping

import numpy as np

from keras_distill.errors import InputError


def split_by_image(labels: np.ndarray, shares: Mapping[str, float], *, seed: int = 0) -> np.ndarray:
    """Takes a share of the images of each class for each part; all others are `train`.

    A class of n images gives a part `n share` of them, rounded up or down at random so that also
    classes of few images give as many on average, and keeps at least one for training.

    Args:
        labels: Class of each image, integers `(n,)`.
        shares: Share of the images of each part but `train`, by its name, from 0 to below 1.
        seed: Seed of the choice.

    Returns:
        The name of the part of each image, `(n,)`: the same for equal labels, shares and seed.

    Raises:
        InputError: If the shares are no shares.

    Example:
        >>> import numpy as np
        >>> parts = split_by_image(np.arange(20) // 10, {"test": 0.2})
        >>> [(parts[:10] == "test").sum().item(), (parts[10:] == "test").sum().item()]
        [2, 2]
    """
    if not all(0 <= share < 1 for share in shares.values()) or sum(shares.values()) >= 1:
        raise InputError(f"`shares={dict(shares)}` must be shares, together below 1.")
    random = np.random.default_rng(seed)
    labels = np.asarray(labels)
    parts = np.full(len(labels), "train", f"<U{max(5, *map(len, shares), 0)}")
    order = np.argsort(labels, kind="stable")
    bounds = np.flatnonzero(np.diff(labels[order])) + 1
    for rows in np.split(order, bounds) if len(order) else []:
        shuffled, taken = random.permutation(rows), 0
        for name, share in shares.items():
            wanted = len(rows) * share
            # 1e-9: 10 * 0.3 is above 3 in floats
            count = math.floor(wanted + 1e-9)
            count += int(random.random() < wanted - count)
            count = min(count, len(rows) - 1 - taken)
            parts[shuffled[taken : taken + count]] = name
            taken += count
    return parts
