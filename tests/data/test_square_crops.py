import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_distill.data.square_crops import cut_out, nested_windows, seeded_crops, square_window


def draws(count, seed=0):
    return tf.constant(np.random.default_rng(seed).random((200, count)), tf.float32)


def test_squares_reach_everywhere_and_stay_inside():
    windows = np.array([square_window(tf.constant([60, 90]), d, (16, 64)) for d in draws(3)])
    tops, lefts, heights, widths = windows.T
    np.testing.assert_array_equal(heights, widths)
    assert (heights.min(), heights.max()) == (16, 60)  # at most the short side
    assert ((tops >= 0) & (tops + heights <= 60)).all()
    assert ((lefts >= 0) & (lefts + widths <= 90)).all()
    assert lefts.max() > 50
    corner = square_window(tf.constant([60, 90]), tf.constant([0.5, 1.0, 1.0]), (32, 32))
    assert corner.numpy().tolist() == [28, 58, 32, 32]


@pytest.mark.parametrize("shape", [(60, 90), (384, 256), (12, 9), (1, 1)])
def test_nested_squares_lie_in_each_other(shape):
    for draw in draws(2)[:50]:
        windows = nested_windows(tf.constant(shape), draw, 5).numpy()
        assert (windows[:, 2] == windows[:, 3]).all()
        assert (windows[:, 2] >= 1).all()
        for outer, inner in itertools.pairwise(windows):
            assert (outer[:2] <= inner[:2]).all()
            assert (inner[:2] + inner[2:] <= outer[:2] + outer[2:]).all()
        assert windows[0, :2].min() >= 0
        assert (windows[0, :2] + windows[0, 2:] <= shape).all()
    if min(shape) > 50:
        largest = windows[0, 2]
        np.testing.assert_allclose(windows[:, 2], largest * 0.75 ** np.arange(5), atol=2.5)
        assert largest >= min(shape) * (1 - 1 / 8) - 2


def test_a_crop_of_the_right_size_keeps_its_pixels():
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    np.testing.assert_array_equal(cut_out(image, [3, 4, 16, 16], 16), image[3:19, 4:20])
    assert cut_out(image, [3, 4, 10, 10], 16).shape == (16, 16, 3)


def test_seeded_crops_depend_on_their_seed_alone():
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    seeds = tf.constant([[0, 1], [0, 2], [5, 1]], tf.int64)
    crops = seeded_crops(image, seeds, 16).numpy()
    assert len({crop.tobytes() for crop in crops}) == 3
    np.testing.assert_array_equal(seeded_crops(image, seeds[1:2], 16)[0], crops[1])
