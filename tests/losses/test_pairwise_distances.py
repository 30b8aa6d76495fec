from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_distill.losses.pairwise_distances import pairwise_distances

GOLDEN = Path(__file__).parents[1] / "golden"


def naive(rows, columns):
    distances = np.empty((len(rows), len(columns)))
    for i, a in enumerate(np.float64(rows)):
        for j, b in enumerate(np.float64(columns)):
            distances[i, j] = np.sqrt(max(np.sum((a - b) ** 2), 1e-12))
    return distances


@settings(max_examples=30)
@given(
    n=st.integers(1, 9),
    m=st.integers(1, 9),
    dim=st.integers(1, 20),
    scale=st.sampled_from([1e-2, 1.0, 1e2]),
    seed=st.integers(0, 2**32 - 1),
)
def test_double_loop(n, m, dim, scale, seed):
    random = np.random.default_rng(seed)
    rows = np.float32(scale * random.normal(size=(n, dim)))
    columns = np.float32(scale * random.normal(size=(m, dim)))
    # Cancellation: the error of a squared distance is that of the squared lengths.
    atol = 3e-7 * scale**2 * (dim + 40)
    squared = pairwise_distances(rows, columns).numpy() ** 2
    np.testing.assert_allclose(squared, naive(rows, columns) ** 2, rtol=1e-5, atol=atol)
    squared = pairwise_distances(rows).numpy() ** 2
    np.testing.assert_allclose(squared, naive(rows, rows) ** 2, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("side", ["s", "t"])
@pytest.mark.parametrize("case", ["n12_d16_seed1", "n32_d64_seed0", "widths_12_vs_48_seed7"])
def test_reference(case, side):
    golden = np.load(GOLDEN / f"embdist__relative_{case}.npz")
    distances = pairwise_distances(golden[f"emb_{side}"])
    np.testing.assert_allclose(distances, golden[f"dist_{side}_f64"], rtol=2e-5, atol=1e-6)


def test_gradient_is_the_direction_between_the_rows(value_and_gradient):
    random = np.random.default_rng(0)
    rows, columns = random.normal(size=(5, 3)), random.normal(size=(4, 3))
    weights = np.float32(random.normal(size=(5, 4)))
    _, gradient = value_and_gradient(
        lambda x: tf.reduce_sum(weights * pairwise_distances(x, columns)), np.float32(rows)
    )
    expected = np.zeros_like(rows)
    for i in range(5):
        for j in range(4):
            direction = (rows[i] - columns[j]) / np.linalg.norm(rows[i] - columns[j])
            expected[i] += weights[i, j] * direction
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


def test_diagonal_is_the_floor_and_has_no_gradient(value_and_gradient):
    rows = np.float32(1e3 * np.random.default_rng(0).normal(size=(6, 50)))
    np.testing.assert_array_equal(np.diag(pairwise_distances(rows)), np.float32(1e-6))
    _, gradient = value_and_gradient(
        lambda x: tf.reduce_sum(tf.linalg.diag_part(pairwise_distances(x))), rows
    )
    np.testing.assert_array_equal(gradient, 0)


def test_duplicates_and_zero_vectors_have_finite_gradients(value_and_gradient):
    rows = np.float32([[0, 0], [0, 0], [3, 4], [3, 4]])
    value, gradient = value_and_gradient(lambda x: tf.reduce_sum(pairwise_distances(x)), rows)
    np.testing.assert_allclose(value, 8 * 5 + 8 * 1e-6, rtol=1e-6)
    np.testing.assert_allclose(gradient, 4 * np.float32([[-3, -4]] * 2 + [[3, 4]] * 2) / 5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype):
    rows = tf.cast(np.random.default_rng(0).normal(size=(6, 300)), dtype)
    distances = pairwise_distances(rows)
    assert distances.dtype == "float32"
    exact = naive(tf.cast(rows, "float64").numpy(), tf.cast(rows, "float64").numpy())
    np.testing.assert_allclose(distances, exact, rtol=1e-5)
