import numpy as np
import pytest

from keras_distill import InputError
from keras_distill.data.density_maps import density_map
from keras_distill.evaluation.counting_metrics import (
    count_errors,
    counting_metrics,
    point_counts,
    region_counts,
)

SHAPE = (60, 100)


def points(count=50, seed=0):
    return np.float32(np.random.default_rng(seed).uniform([0, 0], [100, 60], (count, 2)))


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_regions_of_a_map_are_those_of_its_points(level):
    found = point_counts(points(), SHAPE, level)
    assert found.sum() == 50
    height, width = (np.array(SHAPE) / 2**level).tolist()
    for i, j in np.ndindex(found.shape):
        inside = (points()[:, 1] // height == i) & (points()[:, 0] // width == j)
        assert found[i, j] == inside.sum()
    # Cells of a pixel, and points as sharp as one.
    sharp = density_map(points(), SHAPE, [0, 0, *SHAPE], sigma=0.05, cells=SHAPE).numpy()[..., 0]
    assert region_counts(sharp, 1.0, SHAPE, level).sum() == pytest.approx(50, rel=1e-4)
    if level < 3:  # whose edges are between pixels
        np.testing.assert_allclose(region_counts(sharp, 1.0, SHAPE, level), found, atol=0.6)


def test_a_cell_is_divided_by_area_and_padding_counts_at_the_border():
    density = np.array([[1.0, 2.0, 4.0]])
    found = region_counts(density, 32, (32, 80), 1)
    np.testing.assert_allclose(found.sum(0), [1 + 0.25 * 2, 0.75 * 2 + 4])
    np.testing.assert_allclose(found.sum(), density.sum())


def test_figures_are_those_of_a_loop():
    random = np.random.default_rng(0)
    errors, signed, games = [], [], []
    for seed in range(6):
        density = random.uniform(0, 1.5, (4, 7))  # 64 x 112 pixels, more than the image
        error = count_errors(density, 16, SHAPE, points(30, seed))
        errors.append(error)
        signed.append(density.sum() - 30)
        games.append(
            [
                np.abs(
                    region_counts(density, 16, SHAPE, level)
                    - point_counts(points(30, seed), SHAPE, level)
                ).sum()
                for level in range(4)
            ]
        )
    found = counting_metrics(errors, resamples=100)
    assert found.means["MAE"] == pytest.approx(np.mean(np.abs(signed)))
    assert found.means["RMSE"] == pytest.approx(np.sqrt(np.mean(np.square(signed))))
    for level in range(4):
        assert found.means[f"GAME({level})"] == pytest.approx(np.mean([g[level] for g in games]))
    assert found.means["GAME(0)"] == pytest.approx(found.means["MAE"])
    for name, value in found.means.items():
        low, high = found.intervals[name]
        assert low <= value <= high


def test_no_images():
    with pytest.raises(InputError, match="`errors` are empty"):
        counting_metrics([])
