"""Uncertainty of a classifier about images."""

import numpy as np

from keras_distill.errors import InputError

MEASURES = ("entropy", "margin")


def uncertainty(
    logits: np.ndarray, *, activation: str = "softmax", measure: str = "entropy"
) -> np.ndarray:
    """Measures how uncertain a classifier is about each image.

    Args:
        logits: Logits, floats `(n, classes)`.
        activation: What turns them into probabilities: `softmax` where an image has one class,
            `sigmoid` where it may have several labels.
        measure: `entropy` of the probabilities, of several labels the mean over the labels, as a
            share of the largest there can be; or `margin`: 1 minus the difference of the two
            highest probabilities, of several labels that of the least certain label.

    Returns:
        float64 `(n,)` from 0, certain, to 1.

    Raises:
        InputError: If the logits are not finite, or of one class alone, or a name is unknown.

    Example:
        >>> import numpy as np
        >>> uncertainty(np.array([[9.0, 0.0], [0.0, 0.0]])).round(3)
        array([0.002, 1.   ])
    """
    logits = np.asarray(logits, np.float64)
    if measure not in MEASURES:
        raise InputError(f"`measure={measure!r}` is unknown; give {' or '.join(MEASURES)}.")
    if activation not in ("softmax", "sigmoid"):
        raise InputError(f"`activation={activation!r}` is unknown; give softmax or sigmoid.")
    if logits.ndim != 2 or not np.isfinite(logits).all():
        raise InputError("`logits` must be finite numbers, (images, classes).")
    if activation == "sigmoid":
        if measure == "margin":
            return 1 - np.tanh(np.abs(logits) / 2).min(axis=1)
        certain = np.abs(logits)  # entropy is the same for p and 1 - p
        p = 1 / (1 + np.exp(-certain))
        entropy = np.log1p(np.exp(-certain)) + (1 - p) * certain
        return entropy.mean(axis=1) / np.log(2)
    if logits.shape[1] < 2:
        raise InputError("`logits` are of one class, about which nothing can be uncertain.")
    logs = logits - logits.max(axis=1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    if measure == "entropy":
        return -(np.exp(logs) * logs).sum(axis=1) / np.log(logits.shape[1])
    two = np.exp(np.partition(logs, -2, axis=1)[:, -2:])
    return 1 - np.abs(two[:, 1] - two[:, 0])
