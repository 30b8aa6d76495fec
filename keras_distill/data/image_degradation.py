"""Degradation of images, as by a cheap camera or a slow connection."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from keras_distill.data.decoding import decode_image
from keras_distill.data.degradation_syntax import Degradation
from keras_distill.data.views import resize

_BLUR_RADIUS = 4.0  # in sigmas


def degrade(image: tf.Tensor, degradations: Sequence[Degradation], seed: tf.Tensor) -> tf.Tensor:
    """Degrades an image, one step after the other.

    Args:
        image: uint8 tensor `(size, size, 3)`, of a known size.
        degradations: The degradations, as of `parse_degradations`.
        seed: Integer tensor `(2,)`; equal seeds give equal noise.

    Returns:
        uint8 tensor of the same shape.
    """
    for index, step in enumerate(degradations):
        # The crop was drawn from the seed itself, so noise starts at 1.
        own_seed = tf.random.experimental.stateless_fold_in(seed, index + 1)
        image = _APPLY[step.name](image, step.number, own_seed)
    return image


def _low_resolution(image: tf.Tensor, pixels: float, seed: tf.Tensor) -> tf.Tensor:
    return resize(resize(image, int(pixels)), image.shape[0])


def _jpeg(image: tf.Tensor, quality: float, seed: tf.Tensor) -> tf.Tensor:
    data = tf.io.encode_jpeg(image, format="rgb", quality=int(quality))
    return tf.ensure_shape(decode_image(data), image.shape)


def _blur(image: tf.Tensor, sigma: float, seed: tf.Tensor) -> tf.Tensor:
    radius = int(_BLUR_RADIUS * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    matrix = _filter_matrix(image.shape[0], kernel / kernel.sum())
    return _to_uint8(_filtered(tf.cast(image, tf.float32), matrix, matrix))


def _noise(image: tf.Tensor, sigma: float, seed: tf.Tensor) -> tf.Tensor:
    return _to_uint8(
        tf.cast(image, tf.float32) + tf.random.stateless_normal(image.shape, seed, stddev=sigma)
    )


def _grey(image: tf.Tensor, number: float, seed: tf.Tensor) -> tf.Tensor:
    # The weights of ITU-R 601 in whole numbers, rounded as Pillow does.
    luma = tf.reduce_sum(tf.cast(image, tf.int32) * [19595, 38470, 7471], -1, keepdims=True)
    return tf.repeat(tf.cast((luma + 2**15) // 2**16, tf.uint8), 3, -1)


def _edges(image: tf.Tensor, number: float, seed: tf.Tensor) -> tf.Tensor:
    """Sobel's gradient of the grey image, divided by 4: a step of 255 across an axis gives 255."""
    grey = tf.cast(_grey(image, number, seed)[..., :1], tf.float32)
    smooth = _filter_matrix(image.shape[0], np.array([1.0, 2.0, 1.0]))
    difference = _filter_matrix(image.shape[0], np.array([-1.0, 0.0, 1.0]))
    down, across = _filtered(grey, difference, smooth), _filtered(grey, smooth, difference)
    # The squares are whole numbers; 0.1 more keeps them from ties, which kernels round differently.
    return tf.repeat(_to_uint8(tf.sqrt(down**2 + across**2 + 0.1) / 4.0), 3, -1)


def _filter_matrix(size: int, kernel: np.ndarray) -> tf.Tensor:
    """Correlation with an odd kernel as a matrix; beyond the border, the last pixel repeats."""
    matrix, radius = np.zeros((size, size), np.float32), len(kernel) // 2
    rows = np.arange(size)
    for offset, weight in enumerate(kernel, -radius):
        np.add.at(matrix, (rows, np.clip(rows + offset, 0, size - 1)), weight)
    return tf.constant(matrix)


def _filtered(image: tf.Tensor, down: tf.Tensor, across: tf.Tensor) -> tf.Tensor:
    return tf.einsum("bj,ajc->abc", across, tf.einsum("ai,ijc->ajc", down, image))


def _to_uint8(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(tf.round(values), 0.0, 255.0), tf.uint8)


_APPLY: dict[str, Callable[[tf.Tensor, float, tf.Tensor], tf.Tensor]] = {
    "low_resolution": _low_resolution,
    "jpeg": _jpeg,
    "blur": _blur,
    "noise": _noise,
    "grey": _grey,
    "edges": _edges,
}
