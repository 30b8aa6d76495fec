"""Scores and targets of images with several labels each, checked."""

from collections.abc import Sequence

import numpy as np

from keras_distill.errors import InputError


def checked_labels(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Checks that scores and targets fit each other.

    Args:
        scores: Float array `(n, c)`, higher for a label that is more certain.
        targets: Integers `(n, c)` in {1, 0, -1}.

    Returns:
        The scores as floats and the targets as int8.

    Raises:
        InputError: If the shapes differ or hold nothing, a score is not finite, or a target is none
            of 1, 0 and -1.
    """
    scores, targets = np.asarray(scores), np.asarray(targets)
    if scores.ndim != 2 or scores.shape != targets.shape or not scores.size:
        raise InputError(
            f"`scores` has the shape {scores.shape} and `targets` {targets.shape}; both must be "
            "(images, labels), and hold some."
        )
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)
    if not np.isfinite(scores).all():
        row, column = np.argwhere(~np.isfinite(scores))[0].tolist()
        raise InputError(f"`scores` holds {scores[row, column]} in row {row}, column {column}.")
    if not np.isin(targets, (-1, 0, 1)).all():
        row, column = np.argwhere(~np.isin(targets, (-1, 0, 1)))[0].tolist()
        raise InputError(
            f"`targets` holds {targets[row, column]} in row {row}, column {column}; a target is 1, "
            "0, or -1 for an image that was not annotated."
        )
    return scores, targets.astype(np.int8)


def class_columns(class_names: Sequence[str], chosen: Sequence[str]) -> np.ndarray:
    """Finds the columns of some labels, to view scores and targets of these alone.

    Zero-shot figures are figures of the labels that a model was not trained on,
    `scores[:, columns]` and `targets[:, columns]`; generalised ones are figures of all labels.

    Args:
        class_names: Names of all labels, by column.
        chosen: Names of some of them.

    Returns:
        Their columns in ascending order, int64.

    Raises:
        InputError: If a name is unknown, or none is given.

    Example:
        >>> class_columns(["cat", "dog", "cow"], ["cow", "cat"])
        array([0, 2])
    """
    place = {name: column for column, name in enumerate(class_names)}
    if unknown := [name for name in chosen if name not in place]:
        raise InputError(
            f"`chosen` holds {unknown[0]!r}, which is none of the {len(place)} classes."
        )
    if not len(chosen):
        raise InputError("`chosen` names no class; give at least one.")
    return np.array(sorted({place[name] for name in chosen}), np.int64)
