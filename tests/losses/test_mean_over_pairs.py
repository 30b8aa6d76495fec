import numpy as np
import tensorflow as tf

from keras_distill.losses.mean_over_pairs import mean_over_pairs


def test_mean_over_labelled_anchors_is_the_mean_over_what_was_counted():
    shares = mean_over_pairs(tf.constant([0, -1, 4]), np.float32([6, 0, 3]), tf.constant([4, 0, 2]))
    np.testing.assert_allclose(shares, [2.0, 0.0, 1.0])
    assert np.sum(shares) / 2 == (6 + 3) / (4 + 2)


def test_nothing_counted():
    np.testing.assert_array_equal(
        mean_over_pairs(tf.constant([0, 1]), np.zeros(2, "float32"), np.zeros(2)), [0, 0]
    )
