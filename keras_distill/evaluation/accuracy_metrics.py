"""Accuracy of a classifier of one class an image, and what it confuses."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_distill.errors import InputError
from keras_distill.evaluation.bootstrap import weighted_intervals


@dataclass(frozen=True, eq=False)
class AccuracyMetrics:
    """Accuracy of scores of classes; all values are fractions.

    Attributes:
        hits: By the name of a measure, `top-1`, `top-5`, …, whether each image counts, bool `(n,)`.
        targets: Class of each image, int64 `(n,)`.
        confusion: Number of images by their class and the class that they are taken for, int64
            `(classes, classes)`.
    """

    hits: dict[str, np.ndarray]
    targets: np.ndarray
    confusion: np.ndarray

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.targets)

    @property
    def class_images(self) -> np.ndarray:
        """Number of images of each class, int64 `(classes,)`."""
        return self.confusion.sum(axis=1)

    @property
    def by_class(self) -> dict[str, np.ndarray]:
        """`accuracy`, `precision` and `F1` of each class, float64 `(classes,)`.

        Accuracy is the share of the images of the class that are taken for it, its recall. It is
        NaN for a class without images, as precision is for a class that nothing is taken for.
        """
        right = np.diagonal(self.confusion).astype(np.float64)
        of_class, taken = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        return {
            "accuracy": _ratio(right, of_class),
            "precision": _ratio(right, taken),
            "F1": np.where(of_class > 0, _ratio(2 * right, of_class + taken), np.nan),
        }

    @property
    def means(self) -> dict[str, float]:
        """`top-1`, `top-5`, …, and `class mean`, the mean of the accuracies of the classes."""
        means = {name: float(hit.mean()) for name, hit in self.hits.items()}
        return means | {"class mean": float(np.nanmean(self.by_class["accuracy"]))}

    @functools.cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % bootstrap interval of each of `means`, from 1,000 resamples of the images.

        They show how much a figure depends on the choice of images, for these classes.
        """
        return weighted_intervals(self._figures, self.images)

    def _figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        total = weights.sum(axis=0)
        figures = {
            name: hit.astype(np.float32) @ weights / total for name, hit in self.hits.items()
        }
        order = np.argsort(self.targets, kind="stable")
        begins = np.flatnonzero(np.diff(self.targets[order], prepend=-1))
        right = self.hits["top-1"][order, None] * weights[order]
        right, drawn = (np.add.reduceat(each, begins) for each in (right, weights[order]))
        shares = np.divide(right, drawn, out=np.zeros_like(right), where=drawn > 0)
        return figures | {"class mean": shares.sum(axis=0) / (drawn > 0).sum(axis=0)}

    def most_confused(self, count: int = 5) -> list[tuple[int, int, int]]:
        """Returns the pairs of classes that are confused most.

        Args:
            count: How many to return at most.

        Returns:
            The class of the images, the class that they are taken for, and how many; the most
            frequent first.
        """
        wrong = self.confusion - np.diag(np.diagonal(self.confusion))
        order = np.argsort(-wrong, axis=None, kind="stable")[:count]
        rows, columns = np.unravel_index(order, wrong.shape)
        return [
            (int(row), int(column), int(wrong[row, column]))
            for row, column in zip(rows, columns, strict=True)
            if wrong[row, column]
        ]


def accuracy_metrics(
    scores: np.ndarray, targets: np.ndarray, *, top_ks: Sequence[int] = (1, 5)
) -> AccuracyMetrics:
    """Measures how often the class of an image is among those of the highest scores.

    Of equal scores the class of the lower number counts as the higher, as in `argmax`, so that a
    model that scores all classes alike is not always right.

    Args:
        scores: Float array `(n, classes)`, such as logits.
        targets: Class of each image, integers `(n,)`.
        top_ks: The K of the accuracies among the K best classes; 1 is always measured, and a K of
            more classes than there are is left out.

    Returns:
        The metrics.

    Raises:
        InputError: If the arrays do not fit each other, or a score is not finite.

    Example:
        >>> import numpy as np
        >>> scores = np.array([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.2, 0.7]])
        >>> metrics = accuracy_metrics(scores, np.array([0, 1, 2]), top_ks=[2])
        >>> {name: round(value, 3) for name, value in metrics.means.items()}
        {'top-1': 0.667, 'top-2': 1.0, 'class mean': 0.667}
        >>> metrics.most_confused()
        [(1, 0, 1)]
    """
    scores, targets = np.asarray(scores), np.asarray(targets)
    if scores.ndim != 2 or targets.shape != scores.shape[:1] or not scores.size:
        raise InputError(
            f"`scores` has the shape {scores.shape} and `targets` {targets.shape}; they must be "
            "(images, classes) and (images,), and hold some."
        )
    if not np.isfinite(scores).all():
        row, column = np.argwhere(~np.isfinite(scores))[0].tolist()
        raise InputError(f"`scores` holds {scores[row, column]} in row {row}, column {column}.")
    count = scores.shape[1]
    is_whole = np.issubdtype(targets.dtype, np.integer)
    if not is_whole or targets.min() < 0 or targets.max() >= count:
        raise InputError(
            f"`targets` must be integers from 0 to {count - 1}, the columns of `scores`."
        )
    targets = targets.astype(np.int64)
    own = scores[np.arange(len(scores)), targets][:, None]
    before = np.arange(count) < targets[:, None]
    rank = (scores > own).sum(axis=1) + ((scores == own) & before).sum(axis=1)
    ks = sorted({1, *(k for k in top_ks if 1 <= k < count)})
    confusion = np.bincount(targets * count + scores.argmax(axis=1), minlength=count * count)
    return AccuracyMetrics(
        {f"top-{k}": rank < k for k in ks}, targets, confusion.reshape(count, count)
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
