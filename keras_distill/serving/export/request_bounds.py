"""Bounds of one request, checked in the graph before anything is decoded or computed.

TF-Serving bounds neither the rows nor the pixels. A string stands for as many rows as the shape of
its tensor claims, so that 2 kB could be decoded 100,000 times.
"""

import tensorflow as tf

from keras_distill.data.decoding import image_area
from keras_distill.data.pixel_limit import MAX_PIXELS

MOST_ROWS = 1024
#: Of all images of a request, such as 32 photographs of 25 megapixels.
MOST_PIXELS = 8 * MAX_PIXELS
_PNG, _PNG_HEADER = b"\x89PNG\r\n\x1a\n", 24


def bounded_rows(images: tf.Tensor) -> tf.Tensor:
    """Refuses a request of too many images; `row_bound_faults` finds this form in a graph.

    Args:
        images: Tensor `(n, ...)`, a row for each image.

    Returns:
        The same, once n is known to be at most `MOST_ROWS`; else the graph fails with
        `InvalidArgumentError`.
    """
    rows = tf.shape(images)[0]
    said = f"A request may hold {MOST_ROWS} images; this one has"
    return _checked(images, rows <= MOST_ROWS, said, rows)


def bounded_pixels(image_bytes: tf.Tensor) -> tf.Tensor:
    """Refuses images that would take too much memory or time to decode, by their headers.

    Args:
        image_bytes: String tensor `(n,)`, the bytes of files. What is neither JPEG nor PNG is left
            to the decoder, which refuses it.

    Returns:
        The same, once no image has more than `MAX_PIXELS` and all together have no more than
        `MOST_PIXELS`; else the graph fails with `InvalidArgumentError`.
    """
    areas = tf.map_fn(_claimed_area, image_bytes, fn_output_signature=tf.int64)
    largest, total = tf.reduce_max(areas), tf.reduce_sum(areas)
    said = f"An image may have {MAX_PIXELS} pixels; the largest one claims"
    one_by_one = _checked(image_bytes, largest <= MAX_PIXELS, said, largest)
    said = f"The images of a request may have {MOST_PIXELS} pixels; these claim"
    return _checked(one_by_one, total <= MOST_PIXELS, said, total)


def _claimed_area(data: tf.Tensor) -> tf.Tensor:
    is_png = tf.strings.substr(data, 0, len(_PNG)) == _PNG
    has_header = tf.io.is_jpeg(data) | (is_png & (tf.strings.length(data) >= _PNG_HEADER))
    area = tf.cond(has_header, lambda: image_area(data), lambda: tf.constant(0, tf.int64))
    # Two sides of 32 bits can overflow; what comes out then is below -2**32.
    return tf.abs(area)


def _checked(values: tf.Tensor, condition: tf.Tensor, said: str, number: tf.Tensor) -> tf.Tensor:
    # One operation; tf.debugging.Assert would be two functions.
    check = tf.raw_ops.Assert(condition=condition, data=[said, number])
    with tf.control_dependencies([check]):
        return tf.identity(values)
