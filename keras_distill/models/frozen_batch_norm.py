"""Batch normalisations that keep their statistics in a training."""

from typing import Any

import keras
import numpy as np

from keras_distill.errors import InputError
from keras_distill.models.fused_batch_norm import fuse_batch_norm
from keras_distill.models.keras_internals import all_layers

_MARK = "keeps_statistics"
# 1 - epsilon, rounded, in weights that were converted from a file without batch normalisations.
_SAME_VARIANCE = 1e-5


def freeze_batch_norm(model: keras.Model) -> None:
    """Lets the batch normalisations of a model run in inference mode in training too, in place.

    They normalise by their moving statistics and never change them, while `gamma` and `beta` are
    trained; a layer with `trainable=False` keeps those as well. A pretrained backbone then trains
    as it is used, and the rows of a batch do not depend on each other. Neither a saved model nor a
    clone is frozen; a saved `Distiller` freezes its student again when it is loaded, and
    `AveragedStudent` keeps the statistics as they are.

    Args:
        model: The model, such as a student before it is given to `Distiller`.

    Raises:
        InputError: If it has no batch normalisation.

    Example:
        >>> import keras
        >>> norm = keras.layers.BatchNormalization()
        >>> model = keras.Sequential([keras.Input((1,)), norm])
        >>> freeze_batch_norm(model)
        >>> outputs = model(keras.ops.convert_to_tensor([[4.0], [6.0]]), training=True)
        >>> float(norm.moving_mean[0]), len(model.trainable_variables)
        (0.0, 2)
    """
    layers = batch_norms(model)
    if not layers:
        raise InputError(
            f"`model`: there is no batch normalisation to freeze in {model.name!r}; leave it out."
        )
    fuse_batch_norm(model)  # a layer whose call is replaced already would not be fused any more
    for layer in layers:
        if not keeps_statistics(layer):
            object.__setattr__(layer, _MARK, True)
            # On the object, not the class: the saved model must stay one of Keras' own layers.
            object.__setattr__(layer, "call", _inference_call(layer.call))


def batch_norms(model: keras.Layer) -> list[keras.layers.BatchNormalization]:
    """Lists the batch normalisations of a model.

    Args:
        model: A model or layer.

    Returns:
        The layers, those of models within it too, each once.
    """
    return [
        layer for layer in all_layers(model) if isinstance(layer, keras.layers.BatchNormalization)
    ]


def has_folded_batch_norm(model: keras.Layer) -> bool:
    """Tells whether the batch normalisations of a model only add a bias.

    Converters for phones fold the statistics and `gamma` into the convolution before a layer; the
    means are 0 then, and the variances all alike. Such a model computes the same in inference, but
    not in training, unless `unfold_batch_norm` finds statistics for it or `freeze_batch_norm` keeps
    these.

    Args:
        model: A model or layer.

    Returns:
        Whether all of its batch normalisations are folded, and a bias differs from 0.
    """
    layers = [layer for layer in batch_norms(model) if layer.built]
    return any(
        layer.beta is not None and np.any(keras.ops.convert_to_numpy(layer.beta))
        for layer in layers
    ) and all(
        not np.any(keras.ops.convert_to_numpy(layer.moving_mean))
        and np.ptp(keras.ops.convert_to_numpy(layer.moving_variance)) < _SAME_VARIANCE
        for layer in layers
    )


def keeps_statistics(layer: keras.Layer) -> bool:
    """Tells whether `freeze_batch_norm` has frozen the statistics of a layer."""
    return getattr(layer, _MARK, False)


def _inference_call(original: Any) -> Any:
    def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        return original(inputs, training=False, mask=mask)

    return call
