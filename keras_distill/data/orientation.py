r"""EXIF orientation of a camera, read from a JPEG and applied to its pixels.

Standard TensorFlow operations only, so that the input pipeline and an exported graph do the same;
and few of them, without loops: next to the decoding of a small image each one counts.

An image is brought upright by transposing it (orientations 5 to 8), then reversing its rows (3, 4,
7, 8) and its columns (2, 3, 6, 7).
"""

import tensorflow as tf

_APP0, _APP1, _QUANTIZATION = 0xE0, 0xE1, 0xDB
_JFIF = 22  # bytes up to and with the marker that follows JFIF's segment
_SOUGHT = 2**18  # bytes of a file in which EXIF is sought; profiles of colours may precede it
_TIFF = 2**13  # bytes of EXIF in which the entry is sought
_MARK = "Exif\0\0"
# From the header of a TIFF to the first tag 0x0112 of type SHORT with one value, and the value; in
# little and in big endian. \C is a byte.
_ENTRY = (
    r"(?s)^(II\*\x00\C*?\x12\x01\x03\x00\x01\x00\x00\x00[\x01-\x08]\x00|"
    r"MM\x00\*\C*?\x01\x12\x00\x03\x00\x00\x00\x01\x00[\x01-\x08])\C*"
)
# By orientation: the order of the axes, and whether the rows and the columns are reversed.
_TURNS = [
    *([0, 1, 2, 0, 0], [0, 1, 2, 0, 1], [0, 1, 2, 1, 1], [0, 1, 2, 1, 0]),
    *([1, 0, 2, 0, 0], [1, 0, 2, 0, 1], [1, 0, 2, 1, 1], [1, 0, 2, 1, 0]),
]


def jpeg_orientation(data: tf.Tensor) -> tf.Tensor:
    r"""Reads the EXIF orientation of a JPEG.

    Args:
        data: Scalar string tensor, the bytes of a JPEG file.

    Returns:
        int32 scalar from 1 to 8; 1, upright, if there is no EXIF, or none that can be understood.

    Example:
        >>> int(jpeg_orientation(tf.constant(b"\xff\xd8\xff\xdb")))
        1
    """
    # Most files have no EXIF: nothing, or JFIF's segment of a fixed length, before the tables.
    head = _bytes(tf.strings.substr(data, 0, _JFIF), _JFIF)
    first = tf.gather(head, tf.where(head[3] == _APP0, _JFIF - 1, 3))
    return tf.cond(first == _QUANTIZATION, lambda: tf.constant(1), lambda: _sought(data))


def stored_window(window: tf.Tensor, shape: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Maps a window of the upright image to the image as it is stored.

    Args:
        window: int32 tensor `(4,)`: top, left, height, width, in pixels of the upright image.
        shape: int32 tensor `(2,)`: height and width of the upright image, in pixels.
        orientation: int32 scalar from 1 to 8.

    Returns:
        int32 tensor `(4,)`, the same window in pixels of the stored image.
    """
    turn = _turn(orientation)
    start, extent = window[:2], window[2:]
    start = tf.where(turn[3:] == 1, shape - extent - start, start)
    return tf.reshape(tf.gather(tf.stack([start, extent]), turn[:2], axis=1), [4])


def swapped(pair: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Swaps two numbers, such as height and width, if the orientation swaps the axes.

    Args:
        pair: Tensor `(2,)`.
        orientation: int32 scalar from 1 to 8.

    Returns:
        Tensor `(2,)`.
    """
    return tf.gather(pair, _turn(orientation)[:2])


def upright(
    image: tf.Tensor, orientation: tf.Tensor, mirrored: tf.Tensor | None = None
) -> tf.Tensor:
    """Brings a stored image upright.

    Args:
        image: Tensor `(height, width, 3)`.
        orientation: int32 scalar from 1 to 8.
        mirrored: Boolean scalar, whether the upright image is mirrored afterwards.

    Returns:
        Tensor of the same type, `(height, width, 3)` or `(width, height, 3)`.
    """
    turn = _turn(orientation)
    rows, columns = turn[3], turn[4]
    if mirrored is not None:
        columns = tf.where(mirrored, 1 - columns, columns)
    # Neither costs anything if there is nothing to do. The axes to reverse: none, 0, 1 or both.
    return tf.reverse(tf.transpose(image, turn[:3]), tf.range(1 - rows, 1 + columns))


def _turn(orientation: tf.Tensor) -> tf.Tensor:
    return tf.gather(tf.constant(_TURNS), orientation - 1)


def _sought(data: tf.Tensor) -> tf.Tensor:
    """The orientation in the first EXIF segment."""
    parts = tf.raw_ops.StringSplitV2(
        input=[tf.strings.substr(data, 0, _SOUGHT)], sep=_MARK, maxsplit=1
    ).values
    before, after = parts[0], parts[-1]  # one and the same if there is no mark
    marker = _bytes(tf.strings.substr(before, tf.maximum(tf.strings.length(before) - 4, 0), 4), 4)
    entry = tf.strings.regex_replace(tf.strings.substr(after, 0, _TIFF), _ENTRY, r"\1")
    end = tf.strings.length(entry)  # behind the first two bytes of the value
    tiff = _bytes(entry, tf.maximum(end, 10))
    big = tiff[0] == ord("M")

    def number(place: tf.Tensor, size: int) -> tf.Tensor:
        """A number in the byte order of the file, read within its bounds."""
        steps = tf.where(big, range(size)[::-1], range(size))
        digits = tf.gather(tiff, tf.clip_by_value(place + steps, 0, tf.size(tiff) - 1))
        return tf.reduce_sum(digits * [256**power for power in range(size)])

    # The entry has to be one of those that the first directory counts, within the segment.
    directory = number(4, 4)  # negative from 2^31 on
    distance = end - 10 - (directory + 2)
    inside = (directory > 0) & (distance >= 0) & (distance % 12 == 0)
    inside &= distance < 12 * number(directory, 2)
    whole = (marker[1] == _APP1) & (marker[2] * 256 + marker[3] >= end + 8)
    value = number(end - 2, 2)
    found = (number(end - 10, 2) == 0x0112) & (value >= 1) & (value <= 8)
    return tf.where(inside & whole & found, value, 1)


def _bytes(data: tf.Tensor, length: tf.Tensor | int) -> tf.Tensor:
    """Bytes of a string as int32 `(length,)`; zeros beyond its end."""
    return tf.cast(tf.io.decode_raw(data, tf.uint8, fixed_length=length), tf.int32)
