"""Pictures for people, decoded as they are for models."""

from pathlib import Path

import tensorflow as tf
from PIL import Image, ImageOps

from keras_distill.data.decoding import decode_image
from keras_distill.data.readable_images import why_too_large

_GREY = (200, 200, 200)


def read_picture(file: Path, *, least_side: int) -> Image.Image:
    """Reads an image upright, in RGB, over white where it is transparent.

    Args:
        file: The image.
        least_side: Of a JPEG whose height and width are both at least twice, four or eight times
            that many pixels, a half, a quarter or an eighth is decoded, which is faster.

    Returns:
        The picture.

    Raises:
        OSError: If the file cannot be read or decoded, or has more than `MAX_PIXELS`.
    """
    data = file.read_bytes()
    if reason := why_too_large(data):
        raise OSError(reason)
    try:
        fraction = 1
        if tf.io.is_jpeg(data):
            short = int(tf.reduce_min(tf.io.extract_jpeg_shape(data)[:2]))
            fraction = max(part for part in (1, 2, 4, 8) if part == 1 or short >= part * least_side)
        return Image.fromarray(decode_image(tf.constant(data), fraction=fraction).numpy())
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def read_thumbnail(file: Path, pixels: int, *, square: bool = False) -> Image.Image:
    """Reads an image as a small picture.

    Args:
        file: The image.
        pixels: Height and width that it may have at most.
        square: Whether the centre is cut out as a square of that size.

    Returns:
        The picture; a grey square if the file cannot be read or decoded.
    """
    try:
        picture = read_picture(file, least_side=pixels)
    except OSError:
        return Image.new("RGB", (pixels, pixels), _GREY)
    if square:
        return ImageOps.fit(picture, (pixels, pixels))
    picture.thumbnail((pixels, pixels))
    return picture
