import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_distill.serving.client.output_contract import output_contract

embedding, density = output_contract("embedding"), output_contract("density")


def unit(rows, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(rows, 6)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_embeddings_are_compared_by_their_direction():
    vectors = unit(3)
    assert embedding.least_of(vectors, vectors) == pytest.approx(1)
    assert embedding.least_of(2 * vectors, vectors) == pytest.approx(1)
    other = np.concatenate([vectors[:2], unit(1, seed=1)])
    cosines = embedding.compare(other, vectors)
    np.testing.assert_allclose(cosines, np.sum(other * vectors, axis=1), rtol=1e-6)


def test_lengths():
    assert embedding.off_length(unit(3)) < 1e-6
    assert embedding.off_length(unit(3) * [[1], [1], [0.9]]) == pytest.approx(0.1, abs=1e-6)
    assert np.isnan(embedding.off_length(unit(3) * np.nan))
    assert density.off_length(unit(3) * 9) == 0


def test_other_outputs_are_compared_by_their_largest_difference():
    maps = np.zeros((2, 4, 4, 1), np.float32)
    maps[0, 1, 2] = 4.99
    other = maps.copy()
    other[1, 3, 3] = 1
    np.testing.assert_allclose(density.compare(other, maps), [1, 0.8], rtol=1e-6)
    other[0] *= 2
    assert density.least_of(other, maps) < 0.01


def test_zeros_with_rounding_are_zeros_and_not_with_more():
    zeros = np.zeros((2, 3), np.float32)
    assert density.least_of(zeros + 1e-6, zeros) >= density.least
    assert density.least_of(zeros + 1e-3, zeros) < density.least


@pytest.mark.parametrize("contract", [embedding, density])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_never_the_same(contract, value):
    good, bad = unit(2), unit(2)
    bad[1, 3] = value
    for given_, wanted in ((bad, good), (good, bad), (bad, bad)):
        assert not contract.least_of(given_, wanted) >= contract.least


@pytest.mark.parametrize("contract", [embedding, density])
def test_another_shape_is_never_the_same(contract):
    assert contract.least_of(unit(2), unit(3)) == 0
    assert contract.least_of(unit(2), unit(2)[:, :5]) == 0


@given(st.floats(1e-3, 1e6), st.integers(0, 99))
def test_closeness_does_not_depend_on_the_unit(scale, seed):
    rng = np.random.default_rng(seed)
    rows, noise = rng.normal(size=(4, 5)) * 100, rng.normal(size=(4, 5))
    factor = max(scale, 1.0)
    one = density.compare(rows + noise, rows)
    np.testing.assert_allclose(density.compare(factor * (rows + noise), factor * rows), one, 1e-4)
