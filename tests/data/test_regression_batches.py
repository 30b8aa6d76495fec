from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_distill.data.point_images import PointImages
from keras_distill.data.regression_batches import regression_batches
from keras_distill.data.scored_images import ScoredImages

NAMES = np.array([f"{index}.png" for index in range(5)])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("regression")
    for index, name in enumerate(NAMES):
        Image.fromarray(np.full((40, 60, 3), 10 * index, np.uint8)).save(root / name)
    return root


def scored(root: Path):
    return ScoredImages(root, NAMES, np.arange(5, dtype=np.float32), NAMES, np.full(5, ""))


def dotted(root: Path):
    """One point in the left upper corner of each image, none in the last."""
    points = [np.float32([[5, 5]])] * 4 + [np.zeros((0, 2), np.float32)]
    return PointImages(root, NAMES, points, np.full(5, 0.5))


def taken(batches, count):
    return list(batches.take(count).as_numpy_iterator())


@pytest.mark.slow
def test_scores_belong_to_their_images(root):
    batches = taken(regression_batches(scored(root), image_size=32, batch_size=3, seed=2), 5)
    shown = []
    for x, y in batches:
        assert x["image"].shape == (3, 32, 32, 3)
        assert y.shape == (3, 1)
        np.testing.assert_array_equal(x["image"][:, 0, 0, 0], 10 * y[:, 0])
        shown += y[:, 0].tolist()
    assert sorted(shown) == sorted([*range(5)] * 3)
    options = {"image_size": 32, "batch_size": 3, "seed": 2, "first_step": 4}
    (last,) = taken(regression_batches(scored(root), **options), 1)
    np.testing.assert_array_equal(last[1], batches[4][1])


def test_density_maps_follow_crops_and_mirrors(root):
    options = {"image_size": 32, "cells": 4, "sigma": 2.0}
    whole = regression_batches(dotted(root), batch_size=5, sides=(40, 40), **options)
    sums, corners = [], set()
    for _, y in taken(whole, 12):
        assert y.shape == (5, 4, 4, 1)
        sums += y.sum((1, 2, 3)).tolist()
        corners |= {int(np.argmax(row)) for row in y if row.sum() > 0.9}
    # The window covers the point, or lies to the right of it; it is mirrored or not.
    assert set(np.round(sums, 1)) >= {0.0, 1.0}
    assert {0, 3} <= corners


def test_rows_are_dealt_to_replicas(root):
    options = {"image_size": 32, "batch_size": 4}
    ((_, y),) = taken(regression_batches(scored(root), **options), 1)
    parts = taken(regression_batches(scored(root), **options, replicas=2, own_replicas=range(2)), 2)
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), y[[0, 2, 1, 3]])
