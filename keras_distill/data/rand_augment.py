"""RandAugment: random operations on a view, all of one magnitude."""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from keras_distill.data.random_order import uniform

# What is drawn from the seed of a view; `mixed_views.py` lists the rest.
_OPERATIONS = -4

# At the greatest magnitude, as published: degrees, pixels for each pixel, a share of the side, the
# distance of a factor from 1, bits that are dropped, and values that are inverted.
_ROTATION, _SHEAR, _TRANSLATION, _FACTOR, _BITS, _VALUES = 30.0, 0.3, 150.0 / 331.0, 0.9, 4, 256
_GREATEST = 10.0
_GREY = (128, 128, 128)

_Operation = Callable[[Image.Image, float], Image.Image]


def rand_augment(image: tf.Tensor, operations: int, magnitude: float, seed: tf.Tensor) -> tf.Tensor:
    """Applies random operations to an image, one after the other (Cubuk et al. 2020).

    Each is one of the 14 of `OPERATIONS`, uniformly and independently of the others. Rotation,
    shears and translations go either way, and colour, contrast, brightness and sharpness are scaled
    by 1 + 0.9 M / 10 or 1 - 0.9 M / 10, with equal probability. What comes from outside the image
    is grey.

    Args:
        image: uint8 tensor `(size, size, 3)`.
        operations: Number of operations.
        magnitude: Magnitude M of the operations, from 0 to 10.
        seed: Seed of the view, int64 `(2,)`; equal seeds give equal operations.

    Returns:
        uint8 tensor of the same shape.
    """
    own = tf.random.experimental.stateless_fold_in(seed, tf.constant(_OPERATIONS, tf.int64))
    draws = uniform(own, [2 * operations])
    # By Pillow: a graph of 14 branches would take seconds to start, once for each shard of a cache.
    apply = functools.partial(_applied, magnitude / _GREATEST)
    changed = tf.numpy_function(apply, [image, draws], tf.uint8, stateful=False)
    return tf.ensure_shape(changed, image.shape)


def _applied(share: float, pixels: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Applies operations of a share of the greatest magnitude, by two numbers from 0 to 1 each."""
    image, each = Image.fromarray(pixels), list(OPERATIONS.values())
    for choice, direction in draws.reshape(-1, 2):
        image = each[int(choice * len(each))](image, share if direction < 0.5 else -share)
    return np.asarray(image)


def _scaled(enhancer: Callable[[Image.Image], ImageEnhance._Enhance]) -> _Operation:
    return lambda image, share: enhancer(image).enhance(1.0 + _FACTOR * share)


def _rotated(image: Image.Image, share: float) -> Image.Image:
    return image.rotate(_ROTATION * share, fillcolor=_GREY)


def _solarized(image: Image.Image, share: float) -> Image.Image:
    return ImageOps.solarize(image, _VALUES - round(_VALUES * abs(share)))


def _posterized(image: Image.Image, share: float) -> Image.Image:
    return ImageOps.posterize(image, 8 - round(_BITS * abs(share)))


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    """Takes each pixel from the place to which the matrix maps its own."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=_GREY)


def _pixels(image: Image.Image, share: float) -> int:
    return round(_TRANSLATION * share * image.width)


#: The operations by name: functions of an image and a share of the greatest magnitude, which is
#: negative for the other way.
OPERATIONS: dict[str, _Operation] = {
    "identity": lambda image, share: image,
    "autocontrast": lambda image, share: ImageOps.autocontrast(image),
    "equalize": lambda image, share: ImageOps.equalize(image),
    "rotate": _rotated,
    "solarize": _solarized,
    "colour": _scaled(ImageEnhance.Color),
    "posterize": _posterized,
    "contrast": _scaled(ImageEnhance.Contrast),
    "brightness": _scaled(ImageEnhance.Brightness),
    "sharpness": _scaled(ImageEnhance.Sharpness),
    "shear_x": lambda image, share: _affine(image, (1, _SHEAR * share, 0, 0, 1, 0)),
    "shear_y": lambda image, share: _affine(image, (1, 0, 0, _SHEAR * share, 1, 0)),
    "translate_x": lambda image, share: _affine(image, (1, 0, _pixels(image, share), 0, 1, 0)),
    "translate_y": lambda image, share: _affine(image, (1, 0, 0, 0, 1, _pixels(image, share))),
}
