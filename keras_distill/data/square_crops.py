"""Square crops of photographs at their own resolution, nested crops, and rows of several crops."""

import math
from collections.abc import Sequence

import tensorflow as tf

from keras_distill.data.random_order import uniform
from keras_distill.data.views import resize

#: Of nested crops: the part of the image, along each side, in whose middle they are centred; and
#: the side of each by that of the next larger one. Both as published for crowd counting.
CENTRE_PART, SHRINKING = 1 / 8, 0.75

_LEAST_SIDE = 8  # pixels, of a crop of a tiny image


def square_window(shape: tf.Tensor, draws: tf.Tensor, sides: Sequence[float]) -> tf.Tensor:
    """Places a square in an image by random numbers.

    Args:
        shape: Height and width of the image, int32 `(2,)`, in pixels.
        draws: Numbers from 0 to 1, float32 `(3,)`: for the side, and for the place down and across.
        sides: Least and greatest side, in pixels of the image; drawn log-uniformly between them,
            and at most the short side of the image.

    Returns:
        Top, left, height and width, int32 `(4,)`.
    """
    least, most = map(math.log, sides)
    side = tf.round(tf.exp(least + (most - least) * draws[0]))
    side = tf.minimum(tf.cast(side, tf.int32), tf.reduce_min(shape))
    rest = tf.cast(shape - side, tf.float32)
    corner = tf.cast(tf.minimum(tf.floor((rest + 1.0) * draws[1:3]), rest), tf.int32)
    return tf.concat([corner, [side, side]], 0)


def nested_windows(shape: tf.Tensor, draws: tf.Tensor, count: int) -> tf.Tensor:
    """Places squares in each other, as in crowd counting (CVPR 2018, arXiv 1803.03095).

    The common centre lies in the central `CENTRE_PART` of the image; the largest square is as large
    as fits around it, and each of the next has `SHRINKING` of the side.

    Args:
        shape: Height and width of the image, int32 `(2,)`, in pixels.
        draws: Numbers from 0 to 1 for the centre, float32 `(2,)`.
        count: Number of squares.

    Returns:
        Top, left, height and width of each, the largest first, int32 `(count, 4)`; each lies within
        the one before.
    """
    extent = tf.cast(shape, tf.float32)
    centre = extent * (0.5 + CENTRE_PART * (draws - 0.5))
    half = tf.reduce_min(tf.minimum(centre, extent - centre))
    windows = []
    outer_corner, outer = tf.zeros([2], tf.int32), shape
    for level in range(count):
        least = tf.minimum(half, _LEAST_SIDE / 2)
        side = tf.maximum(tf.cast(2.0 * tf.maximum(half * SHRINKING**level, least), tf.int32), 1)
        corner = tf.cast(tf.round(centre - tf.cast(side, tf.float32) / 2.0), tf.int32)
        # Rounding must not let it stick out of the larger one.
        corner = tf.clip_by_value(corner, outer_corner, outer_corner + outer - side)
        windows.append(tf.concat([corner, [side, side]], 0))
        outer_corner, outer = corner, side
    return tf.stack(windows)


def cut_out(image: tf.Tensor, window: tf.Tensor, size: int) -> tf.Tensor:
    """Cuts a square out of an image and resizes it.

    Args:
        image: uint8 tensor `(height, width, 3)`.
        window: Top, left, height and width, int32 `(4,)`.
        size: Height and width of the result, in pixels.

    Returns:
        uint8 tensor `(size, size, 3)`, with the very pixels of the image if it has that size.
    """
    top, left, height, width = tf.unstack(window)
    crop = image[top : top + height, left : left + width]
    same = tf.equal(height, size) & tf.equal(width, size)
    crop = tf.cond(same, lambda: crop, lambda: resize(crop, size))
    return tf.ensure_shape(crop, [size, size, 3])


def seeded_crops(image: tf.Tensor, seeds: tf.Tensor, size: int) -> tf.Tensor:
    """Cuts several squares of `size` pixels out of an image, at places drawn from seeds.

    Args:
        image: uint8 tensor `(height, width, 3)`.
        seeds: int64 tensor `(count, 2)`.
        size: Height and width, in pixels; a smaller image is enlarged.

    Returns:
        uint8 tensor `(count, size, size, 3)`.
    """
    shape = tf.shape(image)[:2]

    def crop(seed: tf.Tensor) -> tf.Tensor:
        return cut_out(image, square_window(shape, uniform(seed, [3]), (size, size)), size)

    return tf.map_fn(crop, seeds, fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8))
