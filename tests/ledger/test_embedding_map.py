import numpy as np
import pytest

from keras_distill.ledger.embedding_map import embedding_maps


@pytest.mark.parametrize("shape", [(50, 8), (20, 64)])
def test_places_are_the_main_directions(shape):
    vectors = np.random.default_rng(0).normal(size=shape) * np.linspace(3, 1, shape[1])
    ((places, share),) = embedding_maps([vectors])
    centred = vectors - vectors.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :2] * values[:2]
    expected /= np.linalg.norm(expected, axis=1).max()
    np.testing.assert_allclose(np.abs(places), np.abs(expected), atol=1e-9)
    assert share == pytest.approx((values[:2] ** 2).sum() / (values**2).sum())


def test_map_lies_like_the_one_before(labelled):
    vectors, _ = labelled(0.3)
    turned = vectors @ np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))[0]
    (first, _), (second, _) = embedding_maps([vectors, turned])
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_odd_vectors():
    lost = np.ones((6, 4))
    lost[2] = np.nan
    (places, share), (line, _) = embedding_maps([lost, np.arange(6.0)[:, None]])
    assert np.isnan(places[2]).all()
    np.testing.assert_array_equal(places[[0, 1, 3]], 0)
    assert share == 0
    assert line.shape == (6, 2)
    ((nothing, _),) = embedding_maps([np.full((3, 2), np.nan)])
    assert np.isnan(nothing).all()
