"""Views of an image: the centre for evaluation and serving, random crops for training."""

import math
from collections.abc import Sequence

import tensorflow as tf

from keras_distill.data.decoding import decode_crop
from keras_distill.data.orientation import upright
from keras_distill.data.random_order import uniform

# The paper resizes the short side to 256 and takes the central 224 pixels.
CENTRE_SHARE = 224 / 256

_LOG_ASPECT = math.log(4 / 3)
_ATTEMPTS = 10

# To be raised whenever the pixels of a view change, so that no cache is used for other pixels.
VIEWS_VERSION = 3


def centre_view(data: tf.Tensor, size: int) -> tf.Tensor:
    """Decodes the central square of an image, with 7/8 of its short side, at a given size.

    Args:
        data: Scalar string tensor, the bytes of a JPEG or PNG file.
        size: Height and width of the result, in pixels.

    Returns:
        uint8 tensor `(size, size, 3)`.
    """

    def centre(shape: tf.Tensor) -> tf.Tensor:
        short = tf.cast(tf.reduce_min(shape), tf.float32)
        side = tf.maximum(tf.cast(tf.round(short * CENTRE_SHARE), tf.int32), 1)
        return tf.concat([(shape - side) // 2, [side, side]], 0)

    crop, orientation = decode_crop(data, centre, whole=True)
    return square_of(crop, size, orientation)


def random_views(
    data: tf.Tensor, sizes: Sequence[int], seed: tf.Tensor, *, least_area: float = 0.08
) -> list[tf.Tensor]:
    """Decodes one random crop of an image, maybe mirrored, at one or several sizes.

    The crop covers `least_area` to 100 % of the area, uniformly, at an aspect ratio of 3/4 to 4/3,
    log-uniformly (the whole image if ten draws do not fit), and is mirrored with probability 1/2,
    as in the paper's code. Equal seeds give equal views. Of a JPEG only the crop is decoded.

    Args:
        data: Scalar string tensor, the bytes of a JPEG or PNG file.
        sizes: Heights and widths of the results, in pixels.
        seed: Integer tensor `(2,)`.
        least_area: Least share of the image's area in the crop; the paper's code has 0.08.

    Returns:
        One uint8 tensor `(size, size, 3)` for each size, all of the same crop.
    """
    # All numbers in one draw: next to decoding and resizing, such small operations cost the most.
    draws = uniform(seed, [2 * _ATTEMPTS + 3])
    crop, orientation = decode_crop(data, lambda shape: _window(shape, draws, least_area))
    mirrored = draws[-1] < 0.5
    return [square_of(crop, size, orientation, mirrored) for size in sizes]


def square_of(
    crop: tf.Tensor, size: int, orientation: tf.Tensor, mirrored: tf.Tensor | None = None
) -> tf.Tensor:
    """Resizes a stored crop and brings it upright, in a shape that is known in the graph.

    Args:
        crop: uint8 tensor `(height, width, 3)`, as of `decode_crop`.
        size: Height and width of the result, in pixels.
        orientation: As of `decode_crop`.
        mirrored: Whether to mirror it, bool scalar; not if left out.

    Returns:
        uint8 tensor `(size, size, 3)`.
    """
    return tf.ensure_shape(upright(resize(crop, size), orientation, mirrored), [size, size, 3])


def _window(shape: tf.Tensor, draws: tf.Tensor, least_area: float) -> tf.Tensor:
    """Top, left, height and width of a random crop of an image, by numbers from 0 to 1."""
    area, aspect, place, _ = tf.split(draws, [_ATTEMPTS, _ATTEMPTS, 2, 1])
    extent = tf.cast(shape, tf.float32)
    area = (least_area + (1.0 - least_area) * area) * tf.reduce_prod(extent)
    aspect = tf.exp(_LOG_ASPECT * (2.0 * aspect - 1.0))
    tried = tf.round(tf.sqrt(tf.stack([area / aspect, area * aspect], 1)))  # heights, widths
    # The whole image comes last: it always fits.
    tried = tf.concat([tried, extent[None]], 0)
    fits = tf.reduce_all((tried >= 1.0) & (tried <= extent), 1)
    chosen = tf.gather(tried, tf.argmax(fits))
    rest = extent - chosen
    return tf.cast(tf.concat([tf.minimum((rest + 1.0) * place, rest), chosen], 0), tf.int32)


def resize(image: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes an image to a square, bilinearly, antialiased where it shrinks.

    Args:
        image: uint8 tensor `(height, width, 3)`.
        size: Height and width of the result, in pixels.

    Returns:
        uint8 tensor `(size, size, 3)`.
    """
    # `tf.image.resize` would do the same, after a dozen checks of the shape.
    height, width = tf.unstack(tf.shape(image)[:2])

    def antialiased() -> tf.Tensor:
        rows = _resize_rows(tf.reshape(image, [height, width * 3]), size)
        columns = tf.transpose(tf.reshape(rows, [size, width, 3]), [1, 0, 2])
        square = _resize_rows(tf.reshape(columns, [width, size * 3]), size)
        rounded = tf.cast(tf.round(square), tf.uint8)
        return tf.transpose(tf.reshape(rounded, [size, size, 3]), [1, 0, 2])

    def interpolated() -> tf.Tensor:
        resized = tf.raw_ops.ResizeBilinear(
            images=image[None], size=[size, size], half_pixel_centers=True
        )
        return tf.cast(tf.round(resized[0]), tf.uint8)

    # When enlarging, antialiasing changes nothing but costs five times as much. Neither branch
    # exceeds 0 to 255: both compute means with weights that are not negative.
    resized = tf.cond(tf.maximum(height, width) > size, antialiased, interpolated)
    return tf.ensure_shape(resized, [size, size, 3])


def _resize_rows(matrix: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes a matrix `(height, n)` to `(size, n)`, bilinearly and antialiased.

    The kernel combines whole rows at once, but across a row pixel by pixel, which is three times
    slower; so an image is transposed between its two directions.
    """
    resized = tf.raw_ops.ScaleAndTranslate(
        images=matrix[None, :, None],
        size=[size, 1],
        scale=tf.stack([size / tf.cast(tf.shape(matrix)[0], tf.float32), 1.0]),
        translation=[0.0, 0.0],
        kernel_type="triangle",
        antialias=True,
    )
    return resized[0, :, 0]
