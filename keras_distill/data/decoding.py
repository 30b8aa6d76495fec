"""JPEG and PNG decoding, of whole images or of the part that is needed."""

import tensorflow as tf

# Pixels decoded beyond a window's left and right edge and then cut off. Where chroma is subsampled
# the decoder interpolates it from the neighbouring column, which at an edge it would not know.
_MARGIN = 4


def decode_image(data: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG or PNG to RGB.

    Args:
        data: Scalar string tensor, the bytes of the file. Greyscale becomes RGB, 16 bits become
            8, an alpha channel is dropped, EXIF orientation is not applied.

    Returns:
        uint8 tensor `(height, width, 3)`.
    """
    # DecodeJpeg reads PNG too; the slower exact DCT keeps training, evaluation and serving equal.
    image = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.ensure_shape(image, [None, None, 3])


def image_area(data: tf.Tensor) -> tf.Tensor:
    """Reads the size of an image from its header, without decoding it.

    Args:
        data: Scalar string tensor, the bytes of a JPEG, PNG or GIF file.

    Returns:
        int64 scalar, its height times its width, in pixels.
    """

    def number(start: int, scales: list[int]) -> tf.Tensor:
        digits = tf.io.decode_raw(tf.strings.substr(data, start, len(scales)), tf.uint8)
        return tf.reduce_sum(tf.cast(digits, tf.int64) * tf.constant(scales, tf.int64))

    def of_png() -> tf.Tensor:
        big_endian = [2**24, 2**16, 2**8, 1]
        return number(16, big_endian) * number(20, big_endian)

    def of_gif() -> tf.Tensor:
        return number(6, [1, 2**8]) * number(8, [1, 2**8])

    def of_jpeg() -> tf.Tensor:
        return tf.reduce_prod(tf.io.extract_jpeg_shape(data, tf.int64)[:2])

    def begins(mark: bytes) -> tf.Tensor:
        return tf.strings.substr(data, 0, len(mark)) == mark

    return tf.case([(begins(b"\x89PNG"), of_png), (begins(b"GIF8"), of_gif)], default=of_jpeg)


def decode_window(data: tf.Tensor, window: tf.Tensor, image_width: tf.Tensor) -> tf.Tensor:
    """Decodes a window of a JPEG without decoding the rest; equal to decoding and slicing.

    Args:
        data: Scalar string tensor, the bytes of a JPEG file.
        window: int32 tensor `(4,)`: top, left, height, width, in pixels, within the image.
        image_width: int32 scalar, the width of the whole image, in pixels.

    Returns:
        uint8 tensor `(height, width, 3)`.
    """
    top, left, height, width = tf.unstack(window)
    start = tf.maximum(left - _MARGIN, 0)
    stop = tf.minimum(left + width + _MARGIN, image_width)
    image = tf.image.decode_and_crop_jpeg(
        data,
        tf.stack([top, start, height, stop - start]),
        channels=3,
        dct_method="INTEGER_ACCURATE",
    )
    return tf.ensure_shape(image[:, left - start : left - start + width], [None, None, 3])
