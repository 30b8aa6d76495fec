"""Mixes of the views of two images (mixup)."""

import tensorflow as tf

# What is drawn from the seed of a view, apart from its crop (the seed itself), its colours (-1),
# its operations (-4), its square (-5), and the noise of a degradation (1, 2, ...).
_SHARE, _MIXED = -2, -3


def mix(first: tf.Tensor, second: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """Mixes images: `share * first + (1 - share) * second` (Zhang et al. 2018).

    Args:
        first: uint8 tensor `(batch, height, width, 3)`.
        second: The same, of the other images.
        shares: Share of the first image in each mix, float32 `(batch,)`, from 0 to 1.

    Returns:
        uint8 tensor of the same shape.
    """
    one, other = tf.cast(first, tf.float32), tf.cast(second, tf.float32)
    mixed = other + shares[:, None, None, None] * (one - other)
    return tf.cast(tf.round(mixed), tf.uint8)


def mix_pairs(images: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """Mixes the images of each pair with each other, rows 0 and 1, rows 2 and 3, and so on.

    Args:
        images: uint8 tensor `(batch, height, width, 3)`, of a known even batch.
        shares: Share of the row's own image in its mix, float32 `(batch,)`.

    Returns:
        uint8 tensor of the same shape.
    """
    pairs = tf.reshape(images, [-1, 2, *images.shape[1:]])
    return mix(images, tf.reshape(tf.reverse(pairs, [1]), images.shape), shares)


def mix_share(seed: tf.Tensor, mixup_alpha: float) -> tf.Tensor:
    """Draws the share of the first image in a mix from Beta(a, a).

    Args:
        seed: Seed of the first image's view, int64 `(2,)`; equal seeds give equal shares.
        mixup_alpha: The parameter a; 1 is uniform.

    Returns:
        float32 scalar from 0 to 1.
    """
    own = tf.random.experimental.stateless_fold_in(seed, tf.constant(_SHARE, tf.int64))
    if mixup_alpha == 1.0:
        return tf.random.stateless_uniform([], own)
    # In float64 none of them is 0; the gamma variates of small shapes are tiny.
    one, other = tf.unstack(tf.random.stateless_gamma([2], own, mixup_alpha, dtype=tf.float64))
    return tf.cast(one / (one + other), tf.float32)


def mixed_seed(seed: tf.Tensor) -> tf.Tensor:
    """Returns the seed of the noise in a mixed view, from the seed of the first image's view."""
    return tf.random.experimental.stateless_fold_in(seed, tf.constant(_MIXED, tf.int64))
