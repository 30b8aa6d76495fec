"""Sampler of mixed images: the two images of each mix, from a seed and a view."""

import numpy as np
import tensorflow as tf

from keras_distill.data.random_order import random_order
from keras_distill.errors import InputError


class MixedSampler:
    """Draws the mixed rows of any training batch from `(seed, step)` alone.

    In each view the images form random pairs, a function of (seed, view) and the number of images.
    The two images of a pair are mixed twice, with another share each, and both mixes are rows of
    one batch, side by side: a mix costs the decoding of a single image. An endless sequence of
    pairs is cut into batches; a cycle of it shows each pair of one view once, in random order. Of
    an odd number of images, one is left out of each view.

    Args:
        count: Number of images.
        batch_size: Rows in a batch, an even number.
        seed: Seed of all draws.
        views: Different views; `None` for a new one in each cycle.

    Raises:
        InputError: If there is no pair of images, or the rows of a batch are no pairs.

    Example:
        >>> sampler = MixedSampler(6, batch_size=2)
        >>> sorted(row for step in range(3) for row in sampler.rows(step)[0].numpy().tolist())
        [0, 1, 2, 3, 4, 5]
    """

    def __init__(self, count: int, *, batch_size: int, seed: int = 0, views: int | None = None):
        if count < 2:
            raise InputError(f"`count={count}`: to mix images, give two or more.")
        if batch_size < 2 or batch_size % 2:
            raise InputError(f"`batch_size={batch_size}` must be an even number from 2 on.")
        self.batch_size = batch_size
        self._count = count
        self._pairs = count // 2
        self._seed = seed
        self._views = views

    def rows(self, step: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws the images of a step.

        Args:
            step: Scalar, counted from 0.

        Returns:
            Rows of images and their views, int64 `(batch_size,)`. Row `i` is mixed with row
            `i + 1` for an even `i`, with row `i - 1` for an odd one.
        """
        size = self.batch_size // 2
        position = tf.cast(step, tf.int64) * size + tf.range(size, dtype=tf.int64)
        cycle, place = position // self._pairs, position % self._pairs
        view = cycle if self._views is None else cycle % self._views
        rows = tf.zeros([size, 2], tf.int64)
        for later in range((size - 2) // self._pairs + 2):  # cycles in one batch
            current = cycle[0] + later
            # Negative, so that no other sampler has these orders.
            key = tf.stack([tf.constant(-2 - self._seed, tf.int64), -1 - current])
            pair = random_order(key, self._pairs, place)
            shown = current if self._views is None else current % self._views
            places = tf.reshape(tf.stack([2 * pair, 2 * pair + 1], 1), [-1])
            found = random_order(_key(self._seed, shown), self._count, places)
            rows = tf.where((cycle == current)[:, None], tf.reshape(found, [size, 2]), rows)
        return tf.reshape(rows, [-1]), tf.repeat(view, 2)

    def views_until(self, step: int) -> int:
        """Returns how many views, from the first, are shown before a step."""
        cycles = -(-step * self.batch_size // (2 * self._pairs))
        return cycles if self._views is None else min(cycles, self._views)


def partner_rows(count: int, *, view: int, seed: int = 0) -> np.ndarray:
    """Tells with which image each image is mixed in a view.

    Args:
        count: Number of images, two or more.
        view: Number of the view.
        seed: Seed of all draws.

    Returns:
        Rows, int64 `(count,)`. The image that is left out of an odd number has a partner too.
    """
    order = random_order(_key(seed, view), count, tf.range(count, dtype=tf.int64)).numpy()
    partners = np.full(count, order[0], np.int64)
    first, second = order[: count // 2 * 2].reshape(-1, 2).T
    partners[first], partners[second] = second, first
    return partners


def _key(seed: int, view: int | tf.Tensor) -> tf.Tensor:
    return tf.stack([tf.constant(-2 - seed, tf.int64), tf.cast(view, tf.int64)])
