"""Changes of a single view: operations, then colours, then a square that is cut out."""

import tensorflow as tf

from keras_distill.data.cutout import cut_out
from keras_distill.data.rand_augment import rand_augment
from keras_distill.data.view_changes import parse_augmentations
from keras_distill.data.view_colours import change_colours


def change(image: tf.Tensor, augment: str, seed: tf.Tensor) -> tf.Tensor:
    """Changes an image, as its seed says.

    Args:
        image: uint8 tensor `(size, size, 3)`, of a known size.
        augment: The changes, in any order; see `parse_augmentations`.
        seed: Seed of the view, int64 `(2,)`; equal seeds give equal changes.

    Returns:
        uint8 tensor of the same shape.
    """
    changes = parse_augmentations(augment)
    if changes.operations:
        image = rand_augment(image, changes.operations, changes.magnitude, seed)
    image = change_colours(image, augment, seed)
    return cut_out(image, changes.cutout, seed) if changes.cutout else image
