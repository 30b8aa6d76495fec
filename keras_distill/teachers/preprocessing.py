"""Preprocessing of pixels for teachers that do not scale them themselves."""

from typing import Any

from keras_distill.errors import InputError

PREPROCESSINGS = ("0_255", "-1_1", "0_1", "imagenet_caffe", "imagenet_torch")


def preprocess(images: Any, name: str) -> Any:
    """Scales raw pixels, in float32, as a teacher expects them.

    Args:
        images: Tensor `(batch, height, width, 3)`, RGB from 0 to 255, uint8 or float.
        name: `"0_255"` for no scaling; `"-1_1"` or `"0_1"` for this range;
            `"imagenet_torch"` for RGB less ImageNet's mean, over its standard deviation; or
            `"imagenet_caffe"` for BGR less its mean.

    Returns:
        The images as they came for `"0_255"`, otherwise float32 of the same shape.

    Raises:
        InputError: If there is no such preprocessing.

    Example:
        >>> preprocess([[[[0, 127.5, 255]]]], "-1_1").numpy().tolist()
        [[[[-1.0, 0.0, 1.0]]]]
    """
    check_preprocessing(name)
    if name == "0_255":
        return images
    # Imported here: commands read the names before they load TensorFlow.
    import tensorflow as tf

    from keras_distill.models.imagenet_scaling import (
        CAFFE_MEAN_BGR,
        TORCH_MEAN,
        TORCH_STANDARD_DEVIATION,
    )

    pixels = tf.cast(images, tf.float32)
    if name == "-1_1":
        return pixels / 127.5 - 1.0
    if name == "0_1":
        return pixels / 255.0
    if name == "imagenet_torch":
        return (pixels - tf.constant(TORCH_MEAN, tf.float32)) / tf.constant(
            TORCH_STANDARD_DEVIATION, tf.float32
        )
    return pixels[..., ::-1] - tf.constant(CAFFE_MEAN_BGR, tf.float32)


def check_preprocessing(name: str) -> None:
    """Raises an `InputError` if there is no preprocessing of that name."""
    if name not in PREPROCESSINGS:
        raise InputError(
            f"`preprocessing={name!r}` is unknown; choose one of {', '.join(PREPROCESSINGS)}."
        )
