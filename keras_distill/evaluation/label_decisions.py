"""Decisions on the labels of images, and their precision, recall and F1."""

import numpy as np
from scipy.sparse import csr_matrix

from keras_distill.errors import InputError
from keras_distill.evaluation.label_arrays import checked_labels


class LabelDecisions:
    """Which labels were given to which images, against the targets.

    Precision is the share of the given labels that are right, recall the share of the labels to
    give that were given, and F1 = 2 TP / (2 TP + FP + FN). Micro figures count all labels of all
    images together; macro figures are means over the labels that have positives of the figures of
    each. Where nothing is given, precision is 0. Targets of -1 are not counted, whatever was given.

    Args:
        given: bool `(n, c)`.
        targets: Integers `(n, c)` in {1, 0, -1}.

    Attributes:
        counted: The labels that have a positive, bool `(c,)`.
    """

    def __init__(self, given: np.ndarray, targets: np.ndarray):
        self._images = len(given)
        self._right = _by_label(given & (targets == 1))
        self._given = _by_label(given & (targets >= 0))
        self._to_give = _by_label(targets == 1)
        self.counted = (targets == 1).any(axis=0)

    def figures(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Computes the figures of all labels together.

        Args:
            weights: See `LabelRanking.average_precision`.

        Returns:
            `micro precision`, `micro recall`, `micro F1`, and the same with `macro`, float64
            `(r,)`, with one value without weights. Micro recall and F1 and all macro figures are 0
            where no positive has a weight.
        """
        counts = self._counts(weights)
        micro = precision_recall_f1(*(each.sum(axis=0) for each in counts))
        positive = counts[2] > 0
        labels = np.maximum(positive.sum(axis=0), 1)
        macro = {
            name: np.where(positive, values, 0.0).sum(axis=0) / labels
            for name, values in precision_recall_f1(*counts).items()
        }
        return {f"micro {name}": value for name, value in micro.items()} | {
            f"macro {name}": value for name, value in macro.items()
        }

    def by_class(self) -> dict[str, np.ndarray]:
        """Computes the figures of each label.

        Returns:
            `precision`, `recall` and `F1`, float64 `(c,)`; NaN for labels without positives.
        """
        figures = precision_recall_f1(*(each[:, 0] for each in self._counts(None)))
        return {name: np.where(self.counted, values, np.nan) for name, values in figures.items()}

    def _counts(self, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Right, given, and to give: labels by weighting, float64 `(c, r)`."""
        if weights is None:
            weights = np.ones((self._images, 1), np.float32)
        right, given, to_give = (
            (each @ weights).astype(np.float64)
            for each in (self._right, self._given, self._to_give)
        )
        return right, given, to_give


def precision_recall_f1(
    right: np.ndarray, given: np.ndarray, to_give: np.ndarray
) -> dict[str, np.ndarray]:
    """Computes precision, recall and F1 from counts; 0 where their denominator is 0.

    Args:
        right: Labels that were given rightly, float array.
        given: Labels that were given.
        to_give: Labels to give.

    Returns:
        `precision`, `recall` and `F1`, of the same shape.
    """

    def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)

    return {
        "precision": share(right, given),
        "recall": share(right, to_give),
        "F1": share(2 * right, given + to_give),
    }


def above_thresholds(scores: np.ndarray, thresholds: float | np.ndarray) -> np.ndarray:
    """Gives an image the labels whose scores reach the threshold.

    Args:
        scores: Float array `(n, c)`.
        thresholds: One for all labels, or one for each, `(c,)`; compared in float32.

    Returns:
        bool `(n, c)`.

    Raises:
        InputError: If the thresholds are not as many as the labels, or NaN.
    """
    limits = np.asarray(thresholds, np.float32)
    if limits.shape not in ((), scores.shape[1:]) or np.isnan(limits).any():
        raise InputError(
            f"`thresholds` has the shape {limits.shape}; give one number, or one for each of the "
            f"{scores.shape[1]} labels."
        )
    return scores.astype(np.float32) >= limits


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """Gives each image the K labels of the highest scores; of equal scores, the first ones.

    Args:
        scores: Float array `(n, c)`.
        k: The K.

    Returns:
        bool `(n, c)`.

    Raises:
        InputError: If there are fewer labels.

    Example:
        >>> top_k(np.array([[0.1, 0.5, 0.5, 0.9]]), 2)
        array([[False,  True, False,  True]])
    """
    labels = scores.shape[1]
    if not 1 <= k <= labels:
        raise InputError(f"`k={k}` must be from 1 to the number of labels, {labels}.")
    least = np.partition(scores, labels - k, axis=1)[:, labels - k, None]
    above, chosen = scores > least, scores >= least
    tied = np.flatnonzero(chosen.sum(axis=1) > k)
    left = k - above[tied].sum(axis=1, keepdims=True)
    equal = chosen[tied] & ~above[tied]
    chosen[tied] = above[tied] | (equal & (np.cumsum(equal, axis=1) <= left))
    return chosen


def decide_top_k(scores: np.ndarray, targets: np.ndarray, k: int) -> LabelDecisions:
    """Gives each image its K best labels, except images that have no label, which do not count.

    Args:
        scores: Float array `(n, c)`.
        targets: Integers `(n, c)` in {1, 0, -1}.
        k: The K.

    Returns:
        The decisions.

    Raises:
        InputError: If there are fewer labels.
    """
    labelled = (targets == 1).any(axis=1, keepdims=True)
    return LabelDecisions(top_k(scores, k), np.where(labelled, targets, -1))


def best_label_thresholds(
    scores: np.ndarray, targets: np.ndarray, *, otherwise: float = 0.5
) -> np.ndarray:
    """Chooses for each label the threshold of the highest F1; do so on validation images.

    A threshold lies midway between the scores that it parts. Of several with the same F1 the
    highest is taken.

    Args:
        scores: Float array `(n, c)`.
        targets: Integers `(n, c)`: 1, 0, or -1 for an image that was not annotated.
        otherwise: Threshold of labels without positives.

    Returns:
        float32 `(c,)`, for `multilabel_metrics(thresholds=...)`: a label is given if its score
        reaches the threshold.

    Raises:
        InputError: If the arrays do not fit each other.

    Example:
        >>> import numpy as np
        >>> scores = np.array([[0.9], [0.7], [0.4], [0.2]])
        >>> best_label_thresholds(scores, np.array([[1], [1], [0], [0]]))
        array([0.55], dtype=float32)
    """
    scores, targets = checked_labels(scores, targets)
    chosen = np.full(scores.shape[1], otherwise, np.float32)
    scores, targets = (np.ascontiguousarray(each.T) for each in (scores, targets))
    for label in np.flatnonzero((targets == 1).any(axis=1)):
        annotated = targets[label] >= 0
        values = scores[label, annotated].astype(np.float32)
        order = np.argsort(-values)
        values, positive = values[order], targets[label, annotated][order] == 1
        last = np.flatnonzero(np.diff(values, append=np.nan) != 0)  # of equal scores
        found = np.cumsum(positive)[last]
        best = int(np.argmax(2 * found / (last + 1 + positive.sum())))
        upper = values[last[best]]
        lower = values[last[best + 1]] if best + 1 < len(last) else upper
        middle = np.float32(lower + (upper - lower) / 2)
        chosen[label] = middle if middle > lower else upper
    return chosen


def _by_label(chosen: np.ndarray) -> csr_matrix:
    return csr_matrix(chosen.T.astype(np.float32))
