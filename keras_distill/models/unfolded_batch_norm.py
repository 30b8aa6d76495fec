"""Batch normalisations that were folded into convolutions, with statistics again."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.models.frozen_batch_norm import batch_norms


def unfold_batch_norm(model: keras.Model, batches: Iterable[Any]) -> None:
    """Gives the batch normalisations of a model the statistics of their inputs, in place.

    What the model computes in inference stays the same within rounding: with the mean m and the
    variance v of a channel in place of the former m0 and v0,

        gamma' = gamma sqrt((v + eps) / (v0 + eps)),
        beta'  = beta + gamma (m - m0) / sqrt(v0 + eps).

    Weights that were converted from a model for phones, of which `has_folded_batch_norm` tells, can
    be trained afterwards as others are: a batch is then normalised by statistics that are close to
    its own.

    Args:
        model: The model.
        batches: Inputs of the model, such as a few batches of training images.

    Raises:
        InputError: If there is no batch or no batch normalisation, or if one has no `gamma` or no
            `beta`.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> norm = keras.layers.BatchNormalization()
        >>> model = keras.Sequential([keras.Input((1,)), norm])
        >>> unfold_batch_norm(model, [np.array([[4.0], [6.0]])])
        >>> float(norm.moving_mean[0]), float(norm.moving_variance[0])
        (5.0, 1.0)
        >>> round(float(model(np.array([[7.0]]))[0, 0]), 2)
        7.0
    """
    layers = [layer for layer in batch_norms(model) if layer.built]
    if not layers:
        raise InputError(f"`model`: there is no batch normalisation in {model.name!r}.")
    for layer in layers:
        if not (layer.scale and layer.center):
            raise InputError(
                f"`model`: the batch normalisation {layer.name!r} has no gamma or no beta, without "
                "which other statistics change what it computes; keep its own with "
                "`freeze_batch_norm`."
            )
    statistics = _input_statistics(model, layers, batches)
    for layer, (mean, variance) in zip(layers, statistics, strict=True):
        gamma, beta, former_mean, former_variance = map(
            np.float64, (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
        )
        deviation = np.sqrt(former_variance + layer.epsilon)
        layer.gamma.assign(gamma * np.sqrt(variance + layer.epsilon) / deviation)
        layer.beta.assign(beta + gamma * (mean - former_mean) / deviation)
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(variance)


def _input_statistics(
    model: keras.Model, layers: Sequence[Any], batches: Iterable[Any]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean and variance of the channels that each layer is given in inference."""
    moments: list[list[Any]] = [[] for _ in layers]
    with _recording(layers, moments):
        for batch in batches:
            model(batch, training=False)
    if not all(moments):
        raise InputError("`batches`: there is none.")
    found = []
    for of_batches in moments:
        mean, square = np.array(of_batches, np.float64).mean(axis=0)
        found.append((mean, np.maximum(square - mean**2, 0)))
    return found


@contextlib.contextmanager
def _recording(layers: Sequence[Any], moments: Sequence[list[Any]]) -> Iterator[None]:
    """Collects the means of the inputs of layers, and of their squares, while it is open."""
    former = [vars(layer).get("call") for layer in layers]

    def recording(layer: Any, of_batches: list[Any]) -> Any:
        original = layer.call

        def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            rank = inputs.shape.rank
            axes = [axis for axis in range(rank) if axis != layer.axis % rank]
            mean, variance = tf.nn.moments(tf.cast(inputs, tf.float32), axes)
            of_batches.append((mean.numpy(), variance.numpy() + mean.numpy() ** 2))
            return original(inputs, *args, **kwargs)

        return call

    try:
        for layer, of_batches in zip(layers, moments, strict=True):
            object.__setattr__(layer, "call", recording(layer, of_batches))
        yield
    finally:
        for layer, call in zip(layers, former, strict=True):
            if call is None:
                object.__delattr__(layer, "call")
            else:
                object.__setattr__(layer, "call", call)
