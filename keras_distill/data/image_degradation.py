"""Degradation of images, as by a cheap camera or a slow connection."""

import io
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image, features

from keras_distill.data.decoding import decode_image
from keras_distill.data.degradation_syntax import Degradation
from keras_distill.data.views import resize
from keras_distill.errors import InputError

_BLUR_RADIUS = 4.0  # in sigmas
_DENOISING_SIGMA = 1.0  # of the filter, in pixels
_DISPLACED, _MOVED = 15, 10  # side of a displaced block, and how far it moves at most, in pixels
_COLOURED = 32  # side of a coloured block, in pixels


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
    matrix = _gaussian_matrix(image.shape[0], sigma)
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


def _jpeg2000(image: tf.Tensor, ratio: float, seed: tf.Tensor) -> tf.Tensor:
    if not features.check("jpg_2000"):
        raise InputError(
            "`degrade=jpeg2000`: this Pillow was built without JPEG 2000; install the wheel of "
            "`pip install pillow`, or leave it out."
        )

    def encoded(pixels: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        picture = Image.fromarray(pixels)
        picture.save(file, "JPEG2000", quality_mode="rates", quality_layers=[ratio], mct=1)
        return np.asarray(Image.open(file).convert("RGB"))

    return _in_numpy(encoded, image)


def _dither(image: tf.Tensor, colours: float, seed: tf.Tensor) -> tf.Tensor:
    def dithered(pixels: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(pixels)
        palette = picture.quantize(int(colours), Image.Quantize.MEDIANCUT)
        found = picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
        return np.asarray(found.convert("RGB"))

    return _in_numpy(dithered, image)


def _colour_noise(image: tf.Tensor, sigma: float, seed: tf.Tensor) -> tf.Tensor:
    """Noise of the colours, whose luma stays."""
    noise = tf.random.stateless_normal(image.shape, seed, stddev=sigma)
    return _to_uint8(tf.cast(image, tf.float32) + noise - _luma(noise))


def _high_frequency_noise(image: tf.Tensor, sigma: float, seed: tf.Tensor) -> tf.Tensor:
    """Noise without what a filter of one pixel's width would leave of it."""
    noise = tf.random.stateless_normal(image.shape, seed, stddev=sigma)
    matrix = _gaussian_matrix(image.shape[0], 1.0)
    return _to_uint8(tf.cast(image, tf.float32) + noise - _filtered(noise, matrix, matrix))


def _multiplicative_noise(image: tf.Tensor, sigma: float, seed: tf.Tensor) -> tf.Tensor:
    noise = tf.random.stateless_normal(image.shape, seed, mean=1.0, stddev=sigma)
    return _to_uint8(tf.cast(image, tf.float32) * noise)


def _impulse_noise(image: tf.Tensor, share: float, seed: tf.Tensor) -> tf.Tensor:
    """Pixels that are white or black, half of the share each."""
    draw = tf.random.stateless_uniform([*image.shape[:2], 1], seed)
    image = tf.where(draw < share, tf.constant(255, tf.uint8), image)
    return tf.where(draw < share / 2, tf.constant(0, tf.uint8), image)


def _denoised(image: tf.Tensor, sigma: float, seed: tf.Tensor) -> tf.Tensor:
    """Noise that a Gaussian filter has taken out, and details with it."""
    noisy = tf.cast(_noise(image, sigma, seed), tf.float32)
    matrix = _gaussian_matrix(image.shape[0], _DENOISING_SIGMA)
    return _to_uint8(_filtered(noisy, matrix, matrix))


def _quantisation(image: tf.Tensor, step: float, seed: tf.Tensor) -> tf.Tensor:
    return _to_uint8(tf.floor(tf.cast(image, tf.float32) / step) * step + (step - 1) / 2)


def _displaced_blocks(image: tf.Tensor, count: float, seed: tf.Tensor) -> tf.Tensor:
    """Copies of small blocks a few pixels beside their place, as errors of transmission are."""
    size = image.shape[0]
    side = min(_DISPLACED, size)
    draw = tf.random.stateless_uniform([int(count), 4], seed)
    corner = tf.cast(draw[:, :2] * (size - side + 1), tf.int32)
    moved = tf.cast(tf.round((2 * draw[:, 2:] - 1) * _MOVED), tf.int32)
    moved = tf.clip_by_value(corner + moved, 0, size - side) - corner
    places = tf.stack(tf.meshgrid(tf.range(size), tf.range(size), indexing="ij"), -1)
    moves = tf.concat([tf.zeros([1, 2], tf.int32), moved], 0)
    return tf.gather_nd(image, places + tf.gather(moves, _uppermost(corner, side, size)))


def _coloured_blocks(image: tf.Tensor, count: float, seed: tf.Tensor) -> tf.Tensor:
    """Blocks of one colour each."""
    size = image.shape[0]
    side = min(_COLOURED, size)
    draw = tf.random.stateless_uniform([int(count), 5], seed)
    block = _uppermost(tf.cast(draw[:, :2] * (size - side + 1), tf.int32), side, size)
    colours = tf.cast(draw[:, 2:] * 256.0, tf.uint8)
    return tf.where(block[..., None] > 0, tf.gather(colours, tf.maximum(block - 1, 0)), image)


def _uppermost(corner: tf.Tensor, side: int, size: int) -> tf.Tensor:
    """The last of the blocks on each pixel, counted from 1; 0 where there is none."""
    inside = corner[:, :, None] + np.arange(side)  # (blocks, 2, side)
    covered = tf.reduce_any(inside[..., None] == np.arange(size), 2)
    covered = covered[:, 0, :, None] & covered[:, 1, None, :]
    number = tf.range(1, corner.shape[0] + 1)[:, None, None]
    return tf.reduce_max(tf.where(covered, number, 0), 0)


def _brighter(image: tf.Tensor, amount: float, seed: tf.Tensor) -> tf.Tensor:
    return _to_uint8(tf.cast(image, tf.float32) + amount)


def _darker(image: tf.Tensor, amount: float, seed: tf.Tensor) -> tf.Tensor:
    return _to_uint8(tf.cast(image, tf.float32) - amount)


def _contrast(image: tf.Tensor, factor: float, seed: tf.Tensor) -> tf.Tensor:
    """Moves the values away from 127.5, or towards it."""
    return _to_uint8(127.5 + factor * (tf.cast(image, tf.float32) - 127.5))


def _less_saturation(image: tf.Tensor, loss: float, seed: tf.Tensor) -> tf.Tensor:
    """Moves the colours towards their grey; losses above 1 reach their complements."""
    values = tf.cast(image, tf.float32)
    grey = _luma(values)
    return _to_uint8(grey + (1.0 - loss) * (values - grey))


def _aberration(image: tf.Tensor, pixels: float, seed: tf.Tensor) -> tf.Tensor:
    """Red moves to the right, blue to the left."""
    size, shift = image.shape[0], int(pixels)
    columns = np.arange(size)
    red, blue = (
        tf.gather(image[..., channel], np.clip(columns + by, 0, size - 1), axis=1)
        for channel, by in ((0, -shift), (2, shift))
    )
    return tf.stack([red, image[..., 1], blue], -1)


def _luma(values: tf.Tensor) -> tf.Tensor:
    """The luma of ITU-R 601, `(height, width, 1)`."""
    return tf.reduce_sum(values * [0.299, 0.587, 0.114], -1, keepdims=True)


def _in_numpy(function: Callable[[np.ndarray], np.ndarray], image: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(tf.numpy_function(function, [image], tf.uint8), image.shape)


def _gaussian_matrix(size: int, sigma: float) -> tf.Tensor:
    radius = int(_BLUR_RADIUS * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return _filter_matrix(size, kernel / kernel.sum())


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
    "jpeg2000": _jpeg2000,
    "colour_noise": _colour_noise,
    "high_frequency_noise": _high_frequency_noise,
    "multiplicative_noise": _multiplicative_noise,
    "impulse_noise": _impulse_noise,
    "denoised": _denoised,
    "quantisation": _quantisation,
    "dither": _dither,
    "displaced_blocks": _displaced_blocks,
    "coloured_blocks": _coloured_blocks,
    "brighter": _brighter,
    "darker": _darker,
    "more_contrast": _contrast,
    "less_contrast": _contrast,
    "less_saturation": _less_saturation,
    "aberration": _aberration,
}
