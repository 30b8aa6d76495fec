"""EXIF orientation: how a camera was held, read from a JPEG and applied to its pixels.

Standard TensorFlow operations only, so that the input pipeline and an exported graph do the same.
An image is brought upright by transposing it (orientations 5 to 8), then reversing its rows (3, 4,
7, 8) and its columns (2, 3, 6, 7).
"""

import tensorflow as tf

_APP0, _APP1, _APP15, _COMMENT, _FILL, _QUANTIZATION = 0xE0, 0xE1, 0xEF, 0xFE, 0xFF, 0xDB
_JFIF = 22  # bytes up to and with the marker that follows JFIF's segment
_HEAD = 10  # bytes of a segment that tell that it is EXIF
_ENTRY = 12  # bytes of an entry of a directory
# The tag 0x0112, of type SHORT, one value; in big and in little endian.
_TAG = ([1, 0x12, 0, 3, 0, 0, 0, 1], [0x12, 1, 3, 0, 1, 0, 0, 0])


# Traced once for all graphs that call it.
@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def jpeg_orientation(data: tf.Tensor) -> tf.Tensor:
    r"""Reads the EXIF orientation of a JPEG.

    Args:
        data: Scalar string tensor, the bytes of a JPEG file. EXIF is sought in the segments for
            applications and comments that begin the file, as its specification has it.

    Returns:
        int32 scalar from 1 to 8; 1, upright, if there is no EXIF, or none that can be understood.

    Example:
        >>> int(jpeg_orientation(tf.constant(b"\xff\xd8\xff\xdb")))
        1
    """
    # Most files have no EXIF: nothing, or JFIF's segment of a fixed length, before the tables.
    head = _bytes(data, 0, _JFIF)
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
    start, extent = window[:2], window[2:]
    start = tf.where(_reversed(orientation), shape - extent - start, start)
    return tf.concat([swapped(start, orientation), swapped(extent, orientation)], 0)


def swapped(pair: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Swaps two numbers, such as height and width, if the orientation swaps the axes.

    Args:
        pair: Tensor `(2,)`.
        orientation: int32 scalar from 1 to 8.

    Returns:
        Tensor `(2,)`.
    """
    return tf.reverse(pair, tf.range(tf.where(_transposes(orientation), 1, 0)))


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
    swap = tf.cast(_transposes(orientation), tf.int32)
    rows, columns = tf.unstack(_reversed(orientation))
    if mirrored is not None:
        columns = columns != mirrored
    # Neither costs anything where nothing is to be done. The axes to reverse: none, 0, 1 or both.
    image = tf.transpose(image, tf.stack([swap, 1 - swap, 2]))
    return tf.reverse(image, tf.range(tf.where(rows, 0, 1), tf.where(columns, 2, 1)))


def _transposes(orientation: tf.Tensor) -> tf.Tensor:
    return orientation > 4


def _reversed(orientation: tf.Tensor) -> tf.Tensor:
    """Whether the rows and whether the columns are in reverse order, bool `(2,)`."""
    row_wise = [False, False, True, True, False, False, True, True]
    column_wise = [False, True, True, False, False, True, True, False]
    return tf.gather(tf.constant([*zip(row_wise, column_wise, strict=True)]), orientation - 1)


def _sought(data: tf.Tensor) -> tf.Tensor:
    """The orientation that the first EXIF segment tells."""

    def goes_on(at: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
        kind = head[1]
        skipped = (kind >= _APP0) & (kind <= _APP15) | (kind == _COMMENT) | (kind == _FILL)
        return (head[0] == 0xFF) & skipped & ~_is_exif(head)

    def next_segment(at: tf.Tensor, head: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Any number of bytes 0xFF may come before a marker.
        at += tf.where(head[1] == _FILL, 1, 2 + _length(head))
        return at, _bytes(data, at, _HEAD)

    at, head = tf.while_loop(goes_on, next_segment, (tf.constant(2), _bytes(data, 2, _HEAD)))

    def told() -> tf.Tensor:
        begin = tf.minimum(at + _HEAD, tf.strings.length(data))
        return _tiff_orientation(tf.strings.substr(data, begin, _length(head) + 2 - _HEAD))

    return tf.cond(_is_exif(head), told, lambda: tf.constant(1))


def _is_exif(head: tf.Tensor) -> tf.Tensor:
    length = _length(head) + 2 >= _HEAD
    return (head[1] == _APP1) & length & tf.reduce_all(head[4:] == [*b"Exif\0\0"])


def _length(head: tf.Tensor) -> tf.Tensor:
    """Bytes of a segment behind its marker."""
    return head[2] * 256 + head[3]


def _tiff_orientation(tiff: tf.Tensor) -> tf.Tensor:
    """The orientation in the first directory of a TIFF header, as EXIF has one."""
    header = _bytes(tiff, 0, 8)
    big = tf.reduce_all(header[:4] == [*b"MM\0*"])
    little = tf.reduce_all(header[:4] == [*b"II*\0"])

    def number(digits: tf.Tensor) -> tf.Tensor:
        weights = [256**place for place in range(digits.shape[0])]
        in_order = tf.gather(tf.constant([weights[::-1], weights]), tf.cast(little, tf.int32))
        return tf.reduce_sum(digits * in_order)

    length = tf.strings.length(tiff)
    start = number(header[4:])  # negative from 2^31 on
    start = tf.where((start < 0) | (start > length), length, start)
    # One entry at least, which can be of zeros: no bytes at all cannot be decoded.
    count = tf.maximum(tf.minimum(number(_bytes(tiff, start, 2)), length // _ENTRY), 1)
    entries = tf.reshape(_bytes(tiff, start + 2, _ENTRY * count), [-1, _ENTRY])
    wanted = tf.gather(tf.constant(_TAG), tf.cast(little, tf.int32))
    found = tf.reduce_all(entries[:, :8] == wanted, 1)
    entry = tf.gather(entries, tf.argmax(found))
    orientation = number(entry[8:10])
    known = (big | little) & tf.reduce_any(found) & (orientation >= 1) & (orientation <= 8)
    return tf.where(known, orientation, 1)


def _bytes(data: tf.Tensor, start: tf.Tensor | int, length: tf.Tensor | int) -> tf.Tensor:
    """Bytes of a string as int32 `(length,)`; zeros beyond its end."""
    start = tf.minimum(start, tf.strings.length(data))
    part = tf.strings.substr(data, start, length)
    return tf.cast(tf.io.decode_raw(part, tf.uint8, fixed_length=length), tf.int32)
