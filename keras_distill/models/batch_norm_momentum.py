"""Momentum of batch normalisations that fits the number of steps."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_distill.models.keras_internals import all_layers


@contextlib.contextmanager
def warmed_up_momentum(model: keras.Model, step: Any) -> Iterator[None]:
    """Lowers the momentum of a model's batch normalisations in the first steps of a training.

    With Keras' momentum of 0.99 the moving statistics are, after a hundred steps, still a third of
    what they were initialised with, and the rest is of weights that have long changed. Layer by
    layer the error multiplies, until a MobileNet embeds all images alike in inference mode. Within
    this context the momentum is `min(momentum, (1 + step) / (10 + step))`, the warm-up of
    `tf.train.ExponentialMovingAverage`: the statistics forget their start within a few steps, then
    are about those of the last tenth of the training, and reach a momentum of 0.99 at step 890.

    Only the moving statistics depend on it. Frozen layers keep theirs, and nothing of it is saved.

    Args:
        model: The model, which is called in training mode within the context.
        step: Number of steps made before this one, scalar, maybe a variable.

    Yields:
        Nothing.

    Example:
        >>> norm = keras.layers.BatchNormalization()
        >>> model = keras.Sequential([keras.Input((1,)), norm])
        >>> with warmed_up_momentum(model, 0):
        ...     _ = model(ops.convert_to_tensor([[4.0], [6.0]]), training=True)
        >>> round(float(norm.moving_mean[0]), 2)
        4.5
    """
    step = ops.cast(step, "float32")
    ceiling = (1.0 + step) / (10.0 + step)
    # Replicas are traced by turns, each in a thread of its own: another one may have begun.
    lowered = [
        (layer, layer.momentum)
        for layer in all_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization) and isinstance(layer.momentum, float)
    ]
    for layer, momentum in lowered:
        layer.momentum = ops.minimum(momentum, ceiling)
    try:
        yield
    finally:
        for layer, momentum in lowered:
            layer.momentum = momentum
