import numpy as np
import tensorflow as tf

from keras_distill.losses.pair_masks import pair_masks


def test_rows_are_not_paired_with_themselves():
    positive, negative = pair_masks(tf.constant([2**40, 2**40, 2**40 + 1, -1, -1]))
    np.testing.assert_array_equal(np.argwhere(positive), [[0, 1], [1, 0]])
    np.testing.assert_array_equal(np.argwhere(negative), [[0, 2], [1, 2], [2, 0], [2, 1]])


def test_anchors_are_paired_with_equal_references():
    positive, negative = pair_masks(tf.constant([0, -1]), tf.constant([0, 1, -1]))
    np.testing.assert_array_equal(positive, [[True, False, False], [False] * 3])
    np.testing.assert_array_equal(negative, [[False, True, False], [False] * 3])
