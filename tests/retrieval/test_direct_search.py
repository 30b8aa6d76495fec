import numpy as np
import pytest

from keras_distill.retrieval import direct_search
from keras_distill.retrieval.direct_search import (
    centred_squares,
    common_centre,
    direct_neighbours,
    squared_differences,
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def check(queries, gallery, k):
    centre = common_centre(gallery)
    squares = centred_squares(gallery, centre)
    found = direct_neighbours(queries, gallery, k=k, centre=centre, squares=squares)
    squared = np.square(queries[:, None].astype(np.float64) - gallery).sum(2)
    expected = np.argsort(squared, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_allclose(found[1] ** 2, np.take_along_axis(squared, expected, 1), rtol=1e-6)
    assert (found[0].dtype, found[1].dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("offset", [0, 1e3, 1e6])
@pytest.mark.parametrize("k", [1, 10, 200])
def test_blocks_of_any_size_find_the_exact_neighbours(monkeypatch, offset, k):
    monkeypatch.setattr(direct_search, "_BLOCK_VALUES", 80)
    monkeypatch.setattr(direct_search, "_PAIR_BLOCK", 7)
    gallery = normal(200, 16) + np.float32(offset)
    check(normal(19, 16, seed=1) + np.float32(offset), gallery, k)
    check(gallery[:9], gallery, k)


def test_of_rows_at_the_same_distance_the_lower_comes_first():
    grid = np.random.default_rng(0).integers(-2, 3, (300, 2)).astype(np.float32)
    check(grid[:20], grid, 120)
    check(grid[:20] + np.float32(1000), grid + np.float32(1000), 120)


def test_the_centre_moves_only_vectors_far_away():
    assert common_centre(normal(300, 16)) is None
    assert common_centre(np.zeros((3, 4), np.float32)) is None
    unit = normal(300, 16) / np.linalg.norm(normal(300, 16), axis=1, keepdims=True)
    assert common_centre(unit) is None
    far = common_centre(normal(300, 16) + np.float32(1e4))
    assert np.abs(far - 1e4).max() <= 1
    assert (far % 1 == 0).all()  # what was a whole number stays one
    np.testing.assert_array_equal(common_centre(np.full((3, 4), 5.5, np.float32)), [5.5] * 4)


def test_squared_differences_are_those_of_float64():
    gallery, vectors = normal(5, 3) + np.float32(1e6), normal(4, 3, seed=1) + np.float32(1e6)
    rows = np.array([4, 0, 0, 2])
    expected = np.square(vectors.astype(np.float64) - gallery[rows]).sum(1)
    np.testing.assert_allclose(squared_differences(vectors, gallery, rows), expected, rtol=1e-12)
