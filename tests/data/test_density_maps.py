import numpy as np
import pytest
import tensorflow as tf

from keras_distill import InputError
from keras_distill.data.density_maps import density_map, sigma_in_file


def points(count=40, seed=0):
    return np.float32(np.random.default_rng(seed).uniform([0, 0], [100, 60], (count, 2)))


@pytest.mark.parametrize("sigma", [0.5, 6.0, 80.0])
@pytest.mark.parametrize("cells", [(6, 10), (7, 3), (1, 1)])
def test_it_adds_up_to_the_number_of_points(sigma, cells):
    found = density_map(points(), [60, 100], [0, 0, 60, 100], sigma=sigma, cells=cells)
    assert found.shape == (*cells, 1)
    assert float(tf.reduce_sum(found)) == pytest.approx(40, rel=1e-4)
    assert float(tf.reduce_min(found)) >= 0


def test_parts_are_parts_of_the_whole():
    whole = density_map(points(), [60, 100], [0, 0, 60, 100], sigma=4.0, cells=(6, 10))
    part = density_map(points(), [60, 100], [20, 30, 30, 40], sigma=4.0, cells=(3, 4))
    np.testing.assert_allclose(part, whole[2:5, 3:7], rtol=1e-3, atol=1e-4)


def test_it_is_the_sampled_gaussian_of_a_point_in_the_middle():
    found = density_map([[50.5, 30.5]], [60, 100], [0, 0, 60, 100], sigma=5.0, cells=(60, 100))
    y, x = np.mgrid[:60, :100]
    expected = np.exp(-((x - 50) ** 2 + (y - 30) ** 2) / 50) / (50 * np.pi)
    np.testing.assert_allclose(found[..., 0], expected, atol=3e-5)


def test_points_outside_count_at_the_border_and_none_is_zero():
    outside = density_map([[-9.0, 70.0]], [60, 100], [0, 0, 60, 100], sigma=2.0, cells=(3, 5))
    assert float(outside[2, 0, 0]) == pytest.approx(1.0, abs=1e-3)
    empty = density_map(np.zeros((0, 2)), [60, 100], [0, 0, 60, 100], sigma=2.0, cells=(3, 5))
    np.testing.assert_array_equal(empty, np.zeros((3, 5, 1)))


def test_sigma_is_scaled_with_the_file():
    assert sigma_in_file(15.0, 0.375) == 5.625
    for sigma, scale in ((0, 1), (15, 0)):
        with pytest.raises(InputError, match="must be positive"):
            sigma_in_file(sigma, scale)
