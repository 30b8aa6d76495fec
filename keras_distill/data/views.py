"""Views of an image: the centre for evaluation and serving, random crops for training."""

from collections.abc import Sequence

import tensorflow as tf

from keras_distill.data.decoding import decode_image, decode_window

# The paper resizes the short side to 256 and takes the central 224 pixels.
CENTRE_SHARE = 224 / 256

_ASPECT = (3 / 4, 4 / 3)

# To be raised whenever the pixels of a view change, so that no cache answers for other pixels.
VIEWS_VERSION = 1


def centre_view(data: tf.Tensor, size: int) -> tf.Tensor:
    """Decodes the central square of an image, with 7/8 of its short side, at a given size.

    Args:
        data: Scalar string tensor, the bytes of a JPEG or PNG file.
        size: Height and width of the result, in pixels.

    Returns:
        uint8 tensor `(size, size, 3)`.
    """
    image = decode_image(data)
    height, width = tf.unstack(tf.shape(image)[:2])
    short = tf.cast(tf.minimum(height, width), tf.float32)
    side = tf.maximum(tf.cast(tf.round(short * CENTRE_SHARE), tf.int32), 1)
    top, left = (height - side) // 2, (width - side) // 2
    return _resize(image[top : top + side, left : left + side], size)


def random_views(
    data: tf.Tensor, sizes: Sequence[int], seed: tf.Tensor, *, least_area: float = 0.08
) -> list[tf.Tensor]:
    """Decodes one random crop of an image, maybe mirrored, at one or several sizes.

    The crop covers `least_area` to 100 % of the area at an aspect ratio of 3/4 to 4/3 (the whole
    image if ten draws do not fit) and is mirrored with probability 1/2. Equal seeds give equal
    views. Of a JPEG only the crop is decoded.

    Args:
        data: Scalar string tensor, the bytes of a JPEG or PNG file.
        sizes: Heights and widths of the results, in pixels.
        seed: Integer tensor `(2,)`.
        least_area: Least share of the image's area in the crop; the paper's code has 0.08.

    Returns:
        One uint8 tensor `(size, size, 3)` for each size, all of the same crop.
    """
    crop_seed, mirror_seed = tf.unstack(tf.random.split(seed, 2, alg="philox"))

    def window(shape: tf.Tensor) -> tf.Tensor:
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            shape,
            tf.zeros([1, 0, 4]),
            crop_seed,
            min_object_covered=0.0,
            aspect_ratio_range=_ASPECT,
            area_range=(least_area, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        return tf.concat([begin[:2], extent[:2]], 0)

    def from_jpeg() -> tf.Tensor:
        return decode_window(data, window(tf.io.extract_jpeg_shape(data)))

    def from_png() -> tf.Tensor:
        image = decode_image(data)
        top, left, height, width = tf.unstack(window(tf.shape(image)))
        return image[top : top + height, left : left + width]

    image = tf.cond(tf.io.is_jpeg(data), from_jpeg, from_png)
    mirrored = tf.random.stateless_uniform([], mirror_seed, alg="philox") < 0.5
    image = tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)
    return [_resize(image, size) for size in sizes]


def _resize(image: tf.Tensor, size: int) -> tf.Tensor:
    """Antialiased bilinear resizing to a square, back to uint8."""
    # Enlarging, antialiasing changes nothing but costs five times as much.
    shrinks = tf.reduce_any(tf.shape(image)[:2] > size)
    resized = tf.cond(
        shrinks,
        lambda: tf.image.resize(image, [size, size], antialias=True),
        lambda: tf.image.resize(image, [size, size]),
    )
    rounded = tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)
    return tf.ensure_shape(rounded, [size, size, 3])
