"""Sampler of the unlabelled rows of a batch, by index from a seed and a step."""

import tensorflow as tf

from keras_distill.data.random_order import random_order
from keras_distill.errors import InputError


class UnlabelledSampler:
    """Draws the unlabelled rows of any training batch from `(seed, step)` alone.

    The images are visited in random order, each once before any repeats, in an endless sequence
    that is cut into batches.

    Args:
        count: Number of images.
        batch_size: Rows in a batch.
        seed: Seed of all draws.

    Raises:
        InputError: If there are no images, or a batch would have no rows.

    Example:
        >>> sampler = UnlabelledSampler(6, batch_size=3)
        >>> sorted([*sampler.rows(0).numpy().tolist(), *sampler.rows(1).numpy().tolist()])
        [0, 1, 2, 3, 4, 5]
    """

    def __init__(self, count: int, *, batch_size: int, seed: int = 0):
        if count < 1:
            raise InputError("`unlabelled_per_batch` is given, but there are no unlabelled images.")
        if batch_size < 1:
            raise InputError(f"`batch_size={batch_size}` must be at least 1.")
        self.batch_size = batch_size
        self._count = count
        self._seed = seed

    def rows(self, step: int | tf.Tensor) -> tf.Tensor:
        """Draws the images of a step.

        Args:
            step: Scalar, counted from 0.

        Returns:
            int64 tensor `(batch_size,)`: numbers from 0 to `count - 1`.
        """
        step = tf.cast(step, tf.int64)
        position = step * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
        cycle, place = position // self._count, position % self._count
        rows = tf.zeros_like(position)
        for later in range((self.batch_size - 2) // self._count + 2):  # cycles in one batch
            current = cycle[0] + later
            # Negative, because ClassSampler uses the orders of (seed, cycle).
            key = tf.stack([tf.constant(self._seed, tf.int64), -1 - current])
            rows = tf.where(cycle == current, random_order(key, self._count, place), rows)
        return rows
