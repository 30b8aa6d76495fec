"""Random colours of a view: brightness, contrast, saturation and hue, or grey."""

import math

import numpy as np
import tensorflow as tf

from keras_distill.data.random_order import uniform
from keras_distill.data.view_changes import parse_augmentations

# As in BYOL and DINO: factors of 1 - x to 1 + x, and a hue turned by up to 0.1 of a circle.
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = 0.4, 0.4, 0.2, 0.1

# What is drawn from the seed of a view; `mixed_views.py` lists the rest.
_COLOURS = -1

# RGB to YIQ: the luma, and a plane of colours in which hue is an angle and saturation a length.
_TO_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]]
)
_QUARTER_TURN = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
_LUMA = np.tile(_TO_YIQ[:1], [3, 1])
_COLOUR = np.eye(3) - _LUMA
_TURNED = np.linalg.inv(_TO_YIQ) @ _QUARTER_TURN @ _TO_YIQ


def change_colours(image: tf.Tensor, augment: str, seed: tf.Tensor) -> tf.Tensor:
    """Changes the colours of an image, as its seed says.

    `jitter` scales brightness and contrast by 0.6 to 1.4 and saturation by 0.8 to 1.2, and turns
    the hue by up to 36 degrees, all uniformly; `grey` leaves the luma alone. All of it is one
    affine map of a pixel's colour `c` with luma `L(c)`, clipped once:

        b k (L(c) + s (cos h + sin h J) (c - L(c))) + (1 - k) b mean(L)

    for the factors `b`, `k`, `s` of brightness, contrast and saturation, the hue's angle `h`, and
    the quarter turn `J` of colours in the YIQ space.

    Args:
        image: uint8 tensor `(height, width, 3)`.
        augment: The changes, of which others than of colours are left out; see
            `parse_augmentations`.
        seed: Seed of the view, int64 `(2,)`; equal seeds give equal changes.

    Returns:
        uint8 tensor of the same shape.
    """
    probabilities = parse_augmentations(augment).colours
    if not probabilities:
        return image
    own = tf.random.experimental.stateless_fold_in(seed, tf.constant(_COLOURS, tf.int64))
    draws = tf.unstack(uniform(own, [6]))
    jittered = tf.cast(draws[0] < probabilities.get("jitter", 0.0), tf.float32)

    def factor(draw: tf.Tensor, most: float) -> tf.Tensor:
        return 1.0 + jittered * most * (2.0 * draw - 1.0)

    brightness, contrast = factor(draws[1], _BRIGHTNESS), factor(draws[2], _CONTRAST)
    saturation = factor(draws[3], _SATURATION)
    saturation *= tf.cast(draws[5] >= probabilities.get("grey", 0.0), tf.float32)
    angle = 2.0 * math.pi * (factor(draws[4], _HUE) - 1.0)
    matrix = (
        brightness
        * contrast
        * (
            _constant(_LUMA)
            + saturation * (tf.cos(angle) * _constant(_COLOUR) + tf.sin(angle) * _constant(_TURNED))
        )
    )
    rest = (1.0 - contrast) * brightness * _mean_luma(image)
    pixels = tf.cast(image, tf.float32)
    # A convolution is ten times as fast as a product with so few columns.
    changed = tf.nn.conv2d(pixels[None], tf.transpose(matrix)[None, None], 1, "VALID")[0] + rest
    changed = tf.cast(tf.clip_by_value(tf.round(changed), 0.0, 255.0), tf.uint8)
    return tf.ensure_shape(changed, image.shape)


def _mean_luma(image: tf.Tensor) -> tf.Tensor:
    """The mean luma, from sums of integers, which are equal on any number of threads."""
    by_column = tf.cast(tf.reduce_sum(tf.cast(image, tf.int32), 0), tf.int64)
    means = tf.reduce_sum(by_column, 0) / tf.reduce_prod(tf.shape(image, tf.int64)[:2])
    red, green, blue = tf.unstack(means * _TO_YIQ[0])
    return tf.cast(red + green + blue, tf.float32)


def _constant(matrix: np.ndarray) -> tf.Tensor:
    return tf.constant(matrix, tf.float32)
