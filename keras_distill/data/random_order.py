"""Random orders that are evaluated at a few places."""

import tensorflow as tf

# Up to so many, sorting random numbers is the faster shuffle: index_shuffle permutes at least 2^16
# places and walks over those that are none, one by one.
_SORTED = 1000


def random_order(key: tf.Tensor, count: int, places: tf.Tensor) -> tf.Tensor:
    """Evaluates a random order of `0 ... count - 1` at some places.

    Args:
        key: What decides the order, int64 `(2,)`.
        count: How many there are.
        places: int64 `(n,)`, from 0 to `count - 1`.

    Returns:
        int64 tensor `(n,)`.
    """
    if count <= _SORTED:
        draw = tf.random.stateless_uniform([count], key, alg="philox")
        return tf.gather(tf.cast(tf.argsort(draw), tf.int64), places)
    # Drawn, because index_shuffle is visibly uneven for seeds that are small numbers.
    seed = tf.random.stateless_uniform([1, 3], key, None, None, tf.int64, alg="philox")
    rows = tf.shape(places)
    # The public index_shuffle pads a batch of seeds along the wrong axis (TensorFlow 2.20).
    return tf.raw_ops.RandomIndexShuffle(
        index=places,
        seed=tf.repeat(seed, rows, axis=0),
        max_index=tf.fill(rows, tf.constant(count - 1, tf.int64)),
    )
