"""Sampler of albums, and of photographs of each, from a seed and a step."""

import numpy as np
import tensorflow as tf

from keras_distill.data.albums import Albums
from keras_distill.data.multilabel_sampler import MultiLabelSampler
from keras_distill.data.random_order import uniform
from keras_distill.errors import InputError

_APART = 2**33  # beyond all seeds, so that no other sampler draws by the same keys


class AlbumSampler:
    """Draws the albums of any training batch, and photographs of each, from `(seed, step)` alone.

    The albums come from `MultiLabelSampler`. Of each of them `photographs` are drawn without
    replacement, or all of a smaller album, which then has masked places; those hold photographs of
    the same album again, so that what is computed for them is at least real. The published code of
    PETA lets the encoder see such repetitions.

    Args:
        albums: The albums.
        batch_size: Albums in a batch.
        photographs: Photographs of an album in a batch, at most.
        least_positives: As of `MultiLabelSampler`.
        seed: Seed of all draws.

    Raises:
        InputError: If there are no albums, or a number is too small.

    Example:
        >>> sampler = AlbumSampler(albums, batch_size=8, photographs=32)  # doctest: +SKIP
        >>> rows, photographs, mask, views = sampler.rows(0)  # doctest: +SKIP
    """

    def __init__(
        self,
        albums: Albums,
        *,
        batch_size: int,
        photographs: int = 32,
        least_positives: int = 0,
        seed: int = 0,
    ):
        if photographs < 1:
            raise InputError(f"`photographs={photographs}` must be at least 1.")
        self.batch_size = batch_size
        self.photographs = photographs
        self._albums = MultiLabelSampler(
            albums.targets, batch_size=batch_size, least_positives=least_positives, seed=seed
        )
        sizes = albums.sizes
        self._width = max(int(sizes.max()), photographs)
        self._sizes = tf.constant(sizes)
        self._starts = tf.constant(np.cumsum(sizes) - sizes)
        self._members = tf.constant(np.concatenate(albums.members))
        self._seed = seed

    @property
    def cycle_length(self) -> int:
        """The number of visits of albums in a cycle."""
        return self._albums.cycle_length

    def rows(self, step: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Draws the albums of a step and their photographs.

        Args:
            step: Scalar, counted from 0.

        Returns:
            Rows of albums, int64 `(batch_size,)`; rows of their photographs, int64 `(batch_size,
            photographs)`; whether each place counts, bool of this shape; and the number of the
            view that each album shows, int64 `(batch_size,)`.
        """
        step = tf.cast(step, tf.int64)
        albums, views = self._albums.rows(step)
        sizes = tf.gather(self._sizes, albums)[:, None]
        key = tf.stack([tf.constant(_APART + self._seed, tf.int64), step])
        draws = uniform(key, [self.batch_size, self._width])
        beyond = tf.range(self._width, dtype=tf.int64) >= sizes
        order = tf.cast(tf.argsort(tf.where(beyond, 2.0, draws)), tf.int64)
        place = tf.range(self.photographs, dtype=tf.int64)
        chosen = tf.gather(order, place % sizes, batch_dims=1)
        rows = tf.gather(self._members, tf.gather(self._starts, albums)[:, None] + chosen)
        return albums, rows, place < sizes, views
