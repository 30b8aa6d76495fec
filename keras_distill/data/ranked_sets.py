"""Ranked sets: images whose order is known without a label."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import tensorflow as tf

from keras_distill.data.decoding import decode_image
from keras_distill.data.distortion_ladders import Ladder
from keras_distill.data.image_degradation import degrade
from keras_distill.data.random_order import uniform
from keras_distill.data.square_crops import cut_out, nested_windows, square_window

#: From the files of a set, a string tensor `(files,)`, and a seed, int64 `(2,)`, to its images,
#: uint8 `(levels, size, size, 3)`, the best or the most populated first.
MakeSet: TypeAlias = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def distorted_set(ladders: Sequence[Ladder], image_size: int) -> MakeSet:
    """Makes sets of a crop and its distortions, from none to the strongest.

    The crop has the resolution of the photograph, because resizing would hide distortions; it is
    mirrored in half of the sets. Crop, ladder and noise are functions of the seed.

    Args:
        ladders: One of them is drawn for each set; as of `parse_ladders`.
        image_size: Height and width of the images, in pixels.

    Returns:
        The function; a set has `1 + steps` levels.

    Example:
        >>> from keras_distill.data.distortion_ladders import parse_ladders
        >>> make = distorted_set(parse_ladders("live"), 224)
        >>> make(tf.constant(["photo.jpg"]), tf.constant([0, 1], tf.int64))  # doctest: +SKIP
    """

    def make(files: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        image = decode_image(tf.io.read_file(files[0]))
        draws = uniform(seed, [5])
        window = square_window(tf.shape(image)[:2], draws[:3], (image_size, image_size))
        crop = _maybe_mirrored(cut_out(image, window, image_size), draws[3])

        def climbed(ladder: Ladder) -> Callable[[], tf.Tensor]:
            return lambda: tf.stack([crop, *(degrade(crop, [x], seed) for x in ladder.steps)])

        chosen = tf.cast(draws[4] * len(ladders), tf.int32)
        chosen = tf.minimum(chosen, len(ladders) - 1)
        return tf.switch_case(chosen, [climbed(ladder) for ladder in ladders])

    return make


def nested_set(levels: int, image_size: int) -> MakeSet:
    """Makes sets of crops within each other, of which a larger one holds no fewer of anything.

    Args:
        levels: Number of crops.
        image_size: Height and width that each is resized to, in pixels.

    Returns:
        The function; see `nested_windows`. All crops of a set are mirrored, or none is.
    """

    def make(files: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        image = decode_image(tf.io.read_file(files[0]))
        draws = uniform(seed, [3])
        windows = nested_windows(tf.shape(image)[:2], draws[:2], levels)
        crops = [cut_out(image, windows[level], image_size) for level in range(levels)]
        return _maybe_mirrored(tf.stack(crops), draws[2])

    return make


def compared_set(image_size: int) -> MakeSet:
    """Makes sets of two images, the first of which somebody preferred.

    Args:
        image_size: Height and width of the images, in pixels.

    Returns:
        The function, which takes two files. Both crops are drawn by the same numbers, so that they
        show the same part where the images have one size.
    """

    def make(files: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        draws, crops = uniform(seed, [4]), []
        for place in range(2):
            image = decode_image(tf.io.read_file(files[place]))
            window = square_window(tf.shape(image)[:2], draws[:3], (image_size, image_size))
            crops.append(cut_out(image, window, image_size))
        return _maybe_mirrored(tf.stack(crops), draws[3])

    return make


def _maybe_mirrored(images: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
    return tf.where(draw < 0.5, tf.reverse(images, [-2]), images)
