"""Input pipeline of ranked sets."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_distill.data.pipeline import dealt_rows, view_seed
from keras_distill.data.ranked_sets import MakeSet
from keras_distill.data.unlabelled_sampler import UnlabelledSampler


@dataclass(frozen=True)
class RankedSource:
    """Images that ranked sets are made of.

    Attributes:
        files: Absolute paths, `(n, files)`: what one set is made of.
        ids: A number for each set, int64 `(n,)`, that depends on the images alone.
        make: Makes the images of a set.
        levels: How many they are.
    """

    files: np.ndarray
    ids: np.ndarray
    make: MakeSet
    levels: int


def ranked_batches(
    source: RankedSource,
    *,
    sets_per_batch: int,
    largest_first: bool = True,
    seed: int = 0,
    first_step: int = 0,
    replicas: int = 1,
    own_replicas: range = range(1),
) -> tf.data.Dataset:
    """Endless batches of ranked sets.

    Batch `s` is a function of `(seed, s)`, and the images of a set of `(seed, id, view)`: the sets
    are visited in random order, each once before any repeats, and show their next view each time.

    Args:
        source: What the sets are made of.
        sets_per_batch: Sets in a batch, of all replicas.
        largest_first: Whether the first image of a set must score highest; `False` for outputs that
            are higher for worse images.
        seed: Seed of the batches and of the views.
        first_step: Step of the first batch.
        replicas: Parts that the sets of a batch are dealt to; a divisor of their number.
        own_replicas: The parts to make: for each step the first of them, then the next.

    Returns:
        Batches `(x, y)`: `x` a dict of `image` uint8 `(rows, size, size, 3)` and `id` int64
        `(rows,)`; `y` int64 `(rows, 2)`, the level and the group of each row, as
        `AllPairsRankingHinge` takes them.

    Raises:
        InputError: If there are no sets, or a batch would have none.
    """
    sampler = UnlabelledSampler(len(source.files), batch_size=sets_per_batch, seed=seed)
    files, ids = tf.constant(source.files), tf.constant(source.ids)
    levels, part = source.levels, sets_per_batch // replicas
    order = list(range(levels) if largest_first else reversed(range(levels)))

    @tf.autograph.experimental.do_not_convert
    def sets_of_step(step: tf.Tensor) -> tuple[tf.Tensor, ...]:
        places = tf.range(sets_per_batch, dtype=tf.int64)
        views = (step * sets_per_batch + places) // len(source.files)
        columns = (sampler.rows(step), views, places)
        return tuple(
            tf.reshape(dealt_rows(column, replicas, own_replicas), [len(own_replicas) * part])
            for column in columns
        )

    @tf.autograph.experimental.do_not_convert
    def images_of(
        row: tf.Tensor, view: tf.Tensor, place: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        id = tf.gather(ids, row)
        images = source.make(tf.gather(files, row), view_seed(seed, view, id))
        group = tf.stack([tf.constant(order, tf.int64), tf.repeat(place, levels)], 1)
        return {"image": images, "id": tf.repeat(id, levels)}, group

    return (
        tf.data.Dataset.range(first_step, tf.int64.max)
        .map(sets_of_step)
        .unbatch()
        .map(images_of, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(part, drop_remainder=True)
        .map(_rows_of_sets)
        .prefetch(tf.data.AUTOTUNE)
    )


@tf.autograph.experimental.do_not_convert
def _rows_of_sets(x: dict[str, tf.Tensor], y: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    def flat(column: tf.Tensor) -> tf.Tensor:
        return tf.reshape(column, [column.shape[0] * column.shape[1], *column.shape[2:]])

    return {name: flat(column) for name, column in x.items()}, flat(y)
