"""JPEG and PNG decoding, of whole images or of the part that is needed."""

from collections.abc import Callable

import tensorflow as tf

from keras_distill.data.orientation import jpeg_orientation, stored_window, swapped, upright

# Pixels decoded beyond a window's left and right edge and then cut off. Where chroma is subsampled
# the decoder interpolates it from the neighbouring column, which at an edge it would not know.
_MARGIN = 4
_PNG = b"\x89PNG\r\n\x1a\n"
# The types 4 and 6 have an alpha channel, and others may have a chunk. \C is a byte.
_TRANSPARENT = r"(?s)\C{25}[\x04\x06]\C*|\C*tRNS\C*"
#: Description of an image that is neither JPEG nor PNG.
NO_IMAGE = "neither a JPEG nor a PNG image"


def decode_image(data: tf.Tensor, *, fraction: int = 1) -> tf.Tensor:
    """Decodes a JPEG or PNG to RGB, as a viewer shows it.

    Args:
        data: Scalar string tensor, the bytes of the file. Greyscale becomes RGB, 16 bits become
            8, transparency becomes white, and the EXIF orientation of a JPEG is applied.
        fraction: 1, 2, 4 or 8: a JPEG is decoded at that part of its height and width.

    Returns:
        uint8 tensor `(height, width, 3)`.

    Raises:
        tf.errors.InvalidArgumentError: If it is neither, or corrupt.
    """

    def of_jpeg() -> tf.Tensor:
        return upright(_decode_jpeg(data, fraction), jpeg_orientation(data))

    image = tf.cond(tf.io.is_jpeg(data), of_jpeg, lambda: _decode_png(data))
    return tf.ensure_shape(image, [None, None, 3])


def image_area(data: tf.Tensor) -> tf.Tensor:
    """Reads the size of an image from its header, without decoding it.

    Args:
        data: Scalar string tensor, the bytes of a JPEG or PNG file.

    Returns:
        int64 scalar, its height times its width, in pixels.
    """

    def number(start: int) -> tf.Tensor:
        digits = tf.io.decode_raw(tf.strings.substr(data, start, 4), tf.uint8)
        return tf.reduce_sum(
            tf.cast(digits, tf.int64) * tf.constant([2**24, 2**16, 2**8, 1], tf.int64)
        )

    return tf.cond(
        _is_png(data),
        lambda: number(16) * number(20),
        lambda: tf.reduce_prod(tf.io.extract_jpeg_shape(data, tf.int64)[:2]),
    )


def decode_crop(
    data: tf.Tensor, draw: Callable[[tf.Tensor], tf.Tensor], *, whole: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a crop of an image, not yet turned upright.

    Rotating a crop after it was resized costs a fraction of rotating a photograph.

    Args:
        data: Scalar string tensor, the bytes of the file, as of `decode_image`.
        draw: Maps the height and width of the upright image, int32 `(2,)`, to the crop in it: top,
            left, height, width, int32 `(4,)`, in pixels.
        whole: Whether all of a JPEG is decoded, so that a truncated one is an error; otherwise
            only the crop is.

    Returns:
        uint8 tensor `(height, width, 3)`, as it is stored, and its orientation as of `upright`.
    """

    def of_jpeg() -> tuple[tf.Tensor, tf.Tensor]:
        orientation = jpeg_orientation(data)
        image = _decode_jpeg(data) if whole else None
        stored = tf.io.extract_jpeg_shape(data)[:2] if image is None else tf.shape(image)[:2]
        shape = swapped(stored, orientation)
        window = stored_window(draw(shape), shape, orientation)
        if image is not None:
            return _sliced(image, window), orientation
        return decode_window(data, window, stored[1]), orientation

    def of_png() -> tuple[tf.Tensor, tf.Tensor]:
        image = _decode_png(data)
        return _sliced(image, draw(tf.shape(image)[:2])), tf.constant(1)

    return tf.cond(tf.io.is_jpeg(data), of_jpeg, of_png)


def decode_window(data: tf.Tensor, window: tf.Tensor, image_width: tf.Tensor) -> tf.Tensor:
    """Decodes a window of a JPEG as it is stored; equal to decoding everything and slicing.

    Args:
        data: Scalar string tensor, the bytes of a JPEG file, whose orientation is not applied.
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


def _sliced(image: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    top, left, height, width = tf.unstack(window)
    return image[top : top + height, left : left + width]


def _decode_jpeg(data: tf.Tensor, fraction: int = 1) -> tf.Tensor:
    # The slower exact DCT keeps training, evaluation and serving equal.
    return tf.io.decode_jpeg(data, channels=3, ratio=fraction, dct_method="INTEGER_ACCURATE")


def _is_png(data: tf.Tensor) -> tf.Tensor:
    return tf.strings.substr(data, 0, len(_PNG)) == _PNG


def _decode_png(data: tf.Tensor) -> tf.Tensor:
    """Decodes what is no JPEG to RGB, over white where it is transparent."""
    # TensorFlow would decode some GIF, BMP and WebP files too, and TF-Serving other ones.
    with tf.control_dependencies([tf.debugging.Assert(_is_png(data), [NO_IMAGE], summarize=1)]):
        # A chunk of transparency precedes the pixels. Found in a comment, it does no harm.
        header = tf.raw_ops.StringSplitV2(input=[data], sep="IDAT", maxsplit=1).values[0]

    def on_white() -> tf.Tensor:
        pixels = tf.cast(tf.io.decode_png(data, channels=4), tf.float32)
        alpha = pixels[:, :, 3:] / 255.0
        return tf.cast(tf.round(pixels[:, :, :3] * alpha + 255.0 * (1.0 - alpha)), tf.uint8)

    return tf.cond(
        tf.strings.regex_full_match(header, _TRANSPARENT),
        on_white,
        lambda: tf.io.decode_png(data, channels=3),
    )
