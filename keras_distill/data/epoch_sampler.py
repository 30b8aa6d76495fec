"""Sampler of images of any class, each once an epoch, from a seed and a step."""

import tensorflow as tf

from keras_distill.data.unlabelled_sampler import UnlabelledSampler


class EpochSampler:
    """Draws the rows of any training batch from `(seed, step)` alone.

    The images are visited in random order, each once before any repeats, in an endless sequence
    that is cut into batches; at each visit an image shows its next view.

    Args:
        count: Number of images.
        batch_size: Rows in a batch.
        seed: Seed of all draws.

    Raises:
        InputError: If there are no images, or a batch would have no rows.

    Example:
        >>> sampler = EpochSampler(4, batch_size=3)
        >>> rows, views = sampler.rows(1)
        >>> views.numpy().tolist()
        [0, 1, 1]
    """

    def __init__(self, count: int, *, batch_size: int, seed: int = 0):
        self.batch_size = batch_size
        self._count = count
        self._order = UnlabelledSampler(count, batch_size=batch_size, seed=seed)

    def rows(self, step: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws the images of a step.

        Args:
            step: Scalar, counted from 0.

        Returns:
            Rows of images, and the number of the view that each shows, int64 `(batch_size,)`.
        """
        step = tf.cast(step, tf.int64)
        position = step * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
        return self._order.rows(step), position // self._count
