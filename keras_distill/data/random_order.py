"""Random orders, evaluated at a few places only."""

from collections.abc import Sequence

import tensorflow as tf

#: Up to this number, sorting random numbers is the faster shuffle: index_shuffle permutes at least
#: 2^16 places and walks over the invalid ones, one by one.
SORTED = 1000


def uniform(key: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Draws the numbers of `tf.random.stateless_uniform(shape, key, alg="philox")`.

    That one adds some twenty operations to a graph, which take longer to trace than to run.

    Args:
        key: Seed, int64 `(2,)`.
        shape: Shape of the result.

    Returns:
        float32 tensor from 0 to 1.
    """
    return tf.raw_ops.StatelessRandomUniform(shape=shape, seed=key)


def random_order(key: tf.Tensor, count: int, places: tf.Tensor) -> tf.Tensor:
    """Evaluates a random order of `0 ... count - 1` at some places.

    Args:
        key: Seed of the order, int64 `(2,)`.
        count: How many there are.
        places: int64 `(n,)`, from 0 to `count - 1`.

    Returns:
        int64 tensor `(n,)`.
    """
    if count <= SORTED:
        draw = uniform(key, [count])
        return tf.gather(tf.cast(tf.argsort(draw), tf.int64), places)
    counts = tf.constant([count], tf.int64)
    return shuffled_places(key, counts, places[None])[0]


def shuffled_places(key: tf.Tensor, counts: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Evaluates random orders of many, each of its own length, at some places.

    Args:
        key: Seed of the orders, int64 `(2,)`.
        counts: How many each order is of, int64 `(m,)`; below `SORTED` this is slow.
        places: int64 `(m, n)`, from 0 to the count - 1.

    Returns:
        int64 tensor `(m, n)`.
    """
    # Drawn, because index_shuffle is visibly uneven for seeds that are small numbers.
    orders, each = tf.unstack(tf.shape(places))
    seeds = tf.random.stateless_uniform([orders, 3], key, None, None, tf.int64, alg="philox")
    # The public index_shuffle pads a batch of seeds along the wrong axis (TensorFlow 2.20).
    shuffled = tf.raw_ops.RandomIndexShuffle(
        index=tf.reshape(places, [-1]),
        seed=tf.repeat(seeds, each, axis=0),
        max_index=tf.repeat(counts - 1, each),
    )
    return tf.reshape(shuffled, tf.shape(places))
