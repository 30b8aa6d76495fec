import numpy as np
import pytest
import tensorflow as tf

from keras_distill.data.cutout import GREY, cut_out


def squares(share, count=400, size=20, value=200):
    """Which pixels are cut out of an even image, under many seeds."""
    image = tf.fill([size, size, 3], tf.constant(value, tf.uint8))
    seeds = tf.stack([tf.zeros([count], tf.int64), tf.range(count, dtype=tf.int64)], 1)
    found = tf.map_fn(lambda seed: cut_out(image, share, seed), seeds, fn_output_signature=tf.uint8)
    assert set(np.unique(found)) <= {GREY, value}
    return found.numpy() == GREY


@pytest.mark.slow
def test_a_square_of_the_given_side_turns_grey():
    cut = squares(0.3)
    assert (cut == cut[..., :1]).all()
    rows, columns = cut[..., 0].any(2), cut[..., 0].any(1)
    np.testing.assert_array_equal(cut[..., 0], rows[:, :, None] & columns[:, None])
    for sides in (rows.sum(1), columns.sum(1)):
        assert sides.max() == 6
        assert sides.min() == 3  # around a pixel of the border
        assert 0.6 < (sides == 6).mean() < 0.9  # 15 of 20 centres


@pytest.mark.slow
def test_each_pixel_is_the_centre_of_a_square():
    centres = squares(0.01, 1500, size=6)
    assert (centres[..., 0].sum((1, 2)) == 1).all()  # one pixel at least
    counts = centres[..., 0].sum(0)
    assert abs(counts - 1500 / 36).max() < 4 * np.sqrt(1500 / 36)


def test_other_pixels_are_kept():
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    image[image == GREY] = 0
    found = cut_out(tf.constant(image), 0.5, tf.constant([1, 2], tf.int64)).numpy()
    cut = (found == GREY).all(-1)
    assert 4 <= cut.sum() <= 16
    np.testing.assert_array_equal(found[~cut], image[~cut])


def test_squares_of_another_size_lie_at_the_same_place():
    small, large = squares(0.4, 50, size=20), squares(0.4, 50, size=40)
    nearest = large[:, ::2, ::2]
    assert (small == nearest).mean() > 0.9
