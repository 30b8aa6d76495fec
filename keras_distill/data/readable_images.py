"""Finding the images that cannot be decoded before training meets them."""

import re

import numpy as np
import tensorflow as tf
from absl import logging

from keras_distill.data.decoding import decode_image
from keras_distill.data.image_set import ImageSet
from keras_distill.errors import InputError


def drop_unreadable(images: ImageSet, *, strict: bool = False) -> tuple[ImageSet, list[str]]:
    """Decodes every image once and drops those that fail, each named in a warning.

    Args:
        images: The images.
        strict: Whether an unreadable image is an error.

    Returns:
        The readable images, and the paths of the dropped ones, relative to the root.

    Raises:
        InputError: If `strict` and an image is unreadable, or if a class would lose all of them.
    """
    files = [str(images.root / path) for path in images.paths]
    readable = np.zeros(len(files), bool)
    decoded = (
        tf.data.Dataset.from_tensor_slices((np.arange(len(files)), files))
        .map(_decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
        .ignore_errors()
        .batch(1024)
    )
    for indices, _ in decoded.as_numpy_iterator():
        readable[indices] = True
    dropped = [str(path) for path in images.paths[~readable]]
    if not dropped:
        return images, []
    if strict:
        raise InputError(
            f"{len(dropped)} of {len(files)} images in {str(images.root)!r} are corrupt or "
            f"truncated: {', '.join(dropped[:10])}{', ...' if len(dropped) > 10 else ''}. Repair "
            "or remove them, or leave out --strict_images to skip them."
        )
    for path in dropped:
        logging.warning("Skipping a corrupt or truncated image: %s", images.root / path)
    kept = images.select(readable)
    if lost := sorted(set(images.classes) - set(kept.classes)):
        raise InputError(
            f"class folder {str(images.root / images.class_names[lost[0]])!r} has no readable "
            "image; repair or remove it."
        )
    return kept, dropped


def why_unreadable(data: bytes) -> str:
    """Tells why an image cannot be decoded.

    Args:
        data: The bytes of its file.

    Returns:
        The reason, in TensorFlow's words; empty if it can be decoded.
    """
    try:
        decode_image(tf.constant(data))
    except (tf.errors.OpError, ValueError) as error:  # an animated GIF has a dimension too many
        message = getattr(error, "message", str(error))
        # Where in the graph it happened says nothing about the image.
        return re.sub(r"\{\{.*?\}\}\s*| \[Op:.*|\n.*", "", message).strip()
    return ""


def _decode(index: tf.Tensor, file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    # One pixel goes along, because TensorFlow leaves out a decoding that nothing comes of.
    return index, decode_image(tf.io.read_file(file))[0, 0, 0]
