import numpy as np
import pytest
import tensorflow as tf

from keras_distill.losses.masked_logsumexp import masked_logsumexp


@pytest.mark.parametrize("axis", [0, 1])
def test_sums_what_the_mask_holds(axis):
    random = np.random.default_rng(0)
    values, mask = np.float32(random.normal(size=(5, 7))), random.uniform(size=(5, 7)) < 0.6
    expected = np.log((np.exp(values) * mask).sum(axis=axis))
    np.testing.assert_allclose(masked_logsumexp(values, mask, axis=axis), expected, rtol=1e-5)


def test_large_values():
    value = masked_logsumexp(tf.constant([[1e4, 1e4, 5e4]]), [[True, True, False]], axis=1)
    np.testing.assert_allclose(value, [1e4 + np.log(2)])


def test_empty_mask(value_and_gradient):
    value, gradient = value_and_gradient(
        lambda x: tf.nn.softplus(masked_logsumexp(x, tf.zeros_like(x, bool), axis=1))[0],
        np.ones((1, 3), "float32"),
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)
