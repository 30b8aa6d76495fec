"""Cutout: a random square of a view turns grey."""

import numpy as np
import tensorflow as tf

from keras_distill.data.random_order import uniform

# What is drawn from the seed of a view; `mixed_views.py` lists the rest.
_SQUARE = -5

#: Colour of the square.
GREY = 128


def cut_out(image: tf.Tensor, share: float, seed: tf.Tensor) -> tf.Tensor:
    """Fills a square of an image with grey (DeVries & Taylor 2017).

    Its centre is any pixel with equal probability, so that a part of it may lie outside.

    Args:
        image: uint8 tensor `(size, size, 3)`, of a known size.
        share: Side of the square, as a share of the image's side.
        seed: Seed of the view, int64 `(2,)`; equal seeds give equal squares, at any size.

    Returns:
        uint8 tensor of the same shape.
    """
    size = image.shape[0]
    side = max(round(share * size), 1)
    own = tf.random.experimental.stateless_fold_in(seed, tf.constant(_SQUARE, tf.int64))
    draws = uniform(own, [2])
    centre = tf.cast(draws * size, tf.int32)

    def inside(places: np.ndarray, middle: tf.Tensor) -> tf.Tensor:
        distance = places - middle + side // 2
        return (distance >= 0) & (distance < side)

    # Tensors of one shape, without three channels at the end, are chosen from the fastest.
    places = np.arange(size, dtype=np.int32)
    square = inside(places[:, None], centre[0]) & inside(np.repeat(places, 3)[None], centre[1])
    flat = tf.reshape(image, [size, size * 3])
    return tf.reshape(tf.where(square, tf.constant(GREY, tf.uint8, flat.shape), flat), image.shape)
