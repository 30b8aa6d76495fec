"""Sampler of images with several labels, rare ones more often, from a seed and a step."""

import numpy as np
import tensorflow as tf

from keras_distill.data.unlabelled_sampler import UnlabelledSampler
from keras_distill.errors import InputError


class MultiLabelSampler:
    """Draws the rows of any training batch from `(seed, step)` alone.

    A cycle visits each image once, and images of rare labels again, until each label has at least
    `least_positives` visits of images that have it. The cycles, each in a random order of its own,
    form an endless sequence that is cut into batches. The images of a label with p of them are
    visited at most `least_positives / p` times for its sake, rounded up: a cycle with 20 positives
    of each label shows the only image of a label 20 times, so keep the number small.

    Args:
        targets: Integers `(n, c)`; 1 is a positive, anything else is not.
        batch_size: Rows in a batch.
        least_positives: Least number of positives of each label in a cycle; 0 to visit each image
            once. A label without any positives stays without.
        seed: Seed of all draws, and of the images that are visited again.

    Raises:
        InputError: If there are no images, or a number is too small.

    Example:
        >>> targets = np.array([[1, 0], [1, 0], [1, 0], [0, 1]])
        >>> sampler = MultiLabelSampler(targets, batch_size=6, least_positives=3)
        >>> sampler.visits
        array([1, 1, 1, 3])
        >>> rows, views = sampler.rows(0)
        >>> sorted(rows.numpy().tolist())
        [0, 1, 2, 3, 3, 3]
    """

    def __init__(
        self, targets: np.ndarray, *, batch_size: int, least_positives: int = 0, seed: int = 0
    ):
        targets = np.asarray(targets)
        if targets.ndim != 2 or not len(targets):
            raise InputError(f"`targets` has the shape {targets.shape}; give (images, labels).")
        if batch_size < 1:
            raise InputError(f"`batch_size={batch_size}` must be at least 1.")
        if least_positives < 0:
            raise InputError(f"`least_positives={least_positives}` must be at least 0.")
        self.batch_size = batch_size
        self.visits = _visits(targets == 1, least_positives, np.random.default_rng(seed))
        self._views = int(self.visits.max())
        rows = np.repeat(np.arange(len(targets)), self.visits)
        first = np.repeat(np.cumsum(self.visits) - self.visits, self.visits)
        self._rows = tf.constant(rows, tf.int64)
        self._visit = tf.constant(np.arange(len(rows)) - first, tf.int64)
        self._order = UnlabelledSampler(len(rows), batch_size=batch_size, seed=seed)

    @property
    def cycle_length(self) -> int:
        """The number of visits in a cycle."""
        return int(self.visits.sum())

    def rows(self, step: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws the images of a step.

        Args:
            step: Scalar, counted from 0.

        Returns:
            Rows of images, and the number of the view that each shows, int64 `(batch_size,)`. No
            two visits of an image show the same view.
        """
        step = tf.cast(step, tf.int64)
        place = self._order.rows(step)
        position = step * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
        cycle = position // self.cycle_length
        view = cycle * self._views + tf.gather(self._visit, place)
        return tf.gather(self._rows, place), view


def _visits(positive: np.ndarray, least: int, random: np.random.Generator) -> np.ndarray:
    """The number of visits of each image in a cycle, int64 `(n,)`."""
    visits = np.ones(len(positive), np.int64)
    for label in np.argsort(positive.sum(axis=0), kind="stable"):
        rows = random.permutation(np.flatnonzero(positive[:, label]))
        lacking = least - int(visits[rows].sum())
        while lacking > 0 and len(rows):
            fewest = rows[visits[rows] == visits[rows].min()][:lacking]
            visits[fewest] += 1
            lacking -= len(fewest)
    return visits
