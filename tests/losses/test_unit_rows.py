import numpy as np
import pytest
import tensorflow as tf

from keras_distill.losses.unit_rows import unit_rows


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_length_is_1_at_any_scale(scale):
    vectors = np.float32(np.random.default_rng(0).normal(size=(5, 3)) * scale)
    expected = vectors / np.linalg.norm(np.float64(vectors), axis=1, keepdims=True)
    np.testing.assert_allclose(unit_rows(vectors), expected, rtol=1e-5)


def test_zero_row(value_and_gradient):
    vectors = np.float32([[0, 0], [3, 4]])
    np.testing.assert_allclose(unit_rows(vectors), [[0, 0], [0.6, 0.8]], rtol=1e-6)
    _, gradient = value_and_gradient(lambda x: tf.reduce_sum(unit_rows(x)), vectors)
    assert np.isfinite(gradient).all()


def test_gradient_equals_finite_differences(value_and_gradient, numeric_gradient):
    vectors, target = np.random.default_rng(0).normal(size=(2, 4, 3))
    _, gradient = value_and_gradient(
        lambda x: tf.reduce_sum(unit_rows(x) * np.float32(target)), np.float32(vectors)
    )
    expected = numeric_gradient(
        lambda x: np.sum(target * x / np.linalg.norm(x, axis=1, keepdims=True)), vectors
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)
