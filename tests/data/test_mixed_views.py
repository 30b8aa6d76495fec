import numpy as np
import pytest
import tensorflow as tf

from keras_distill.data.mixed_views import mix, mix_pairs, mix_share, mixed_seed


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 5, 3), dtype=np.uint8)


def shares_of(alpha, count):
    seeds = tf.stack(
        [tf.fill([count], tf.constant(3, tf.int64)), tf.range(count, dtype=tf.int64)], 1
    )
    return tf.map_fn(
        lambda seed: mix_share(seed, alpha), seeds, fn_output_signature=tf.float32
    ).numpy()


def test_a_mix_is_a_weighted_mean():
    first, second = images(4), images(4, seed=1)
    shares = np.float32([0.0, 1.0, 0.25, 0.7])
    mixed = mix(first, second, shares)
    assert mixed.dtype == tf.uint8
    np.testing.assert_array_equal(mixed[0], second[0])
    np.testing.assert_array_equal(mixed[1], first[1])
    for row, share in enumerate(shares):
        expected = share * first[row].astype(float) + (1 - share) * second[row]
        np.testing.assert_allclose(mixed[row], expected, atol=0.501)


def test_the_two_of_a_pair_are_mixed_with_each_other():
    batch, shares = images(6), np.float32([0.1, 0.9, 0.5, 0.3, 1.0, 0.2])
    mixed = mix_pairs(tf.constant(batch), tf.constant(shares))
    np.testing.assert_array_equal(mixed, mix(batch, batch[[1, 0, 3, 2, 5, 4]], shares))


@pytest.mark.quick(1)
@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 4.0])
def test_shares_are_beta(alpha):
    shares = shares_of(alpha, 600)
    assert np.isfinite(shares).all()
    assert shares.min() >= 0
    assert shares.max() <= 1
    deviation = np.sqrt(1 / (4 * (2 * alpha + 1)))
    assert shares.mean() == pytest.approx(0.5, abs=4 * deviation / np.sqrt(600))
    assert shares.std() == pytest.approx(deviation, rel=0.12)
    if alpha == 1.0:
        np.testing.assert_allclose(np.histogram(shares, 4, (0, 1))[0] / 600, 0.25, atol=0.07)


def test_draws_are_functions_of_the_seed_and_apart():
    seed, other = tf.constant([3, 4], tf.int64), tf.constant([3, 5], tf.int64)
    assert mix_share(seed, 0.5) == mix_share(seed, 0.5) != mix_share(other, 0.5)
    assert (mixed_seed(seed).numpy() == mixed_seed(seed).numpy()).all()
    assert (mixed_seed(seed).numpy() != mixed_seed(other).numpy()).any()
    assert (mixed_seed(seed).numpy() != seed.numpy()).any()
