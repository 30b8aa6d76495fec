"""Statistics of batch normalisations, estimated again for other weights."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_distill.models.frozen_batch_norm import batch_norms, keeps_statistics


class BatchNormStatistics:
    """Estimates the moving statistics of a model's batch normalisations by forward passes.

    Weights that were not trained themselves, such as averages, need it: the statistics of the
    weights they come from do not fit them. Each batch counts the same: the mean and the variance
    become plain means over the batches. Frozen layers, and those of
    `freeze_batch_norm`, keep their statistics.

    Args:
        model: The model.

    Example:
        >>> image = keras.Input((1,))
        >>> model = keras.Model(image, keras.layers.BatchNormalization(name="norm")(image))
        >>> BatchNormStatistics(model).estimate([np.array([[1.0], [3.0]]), np.array([[4.0]])])
        >>> [float(v[0]) for v in model.get_layer("norm").non_trainable_variables]
        [3.0, 0.5]
    """

    def __init__(self, model: keras.Model):
        self._model = model
        self._layers: list[Any] = []

    def estimate(self, batches: Iterable[Any]) -> None:
        """Replaces the statistics, in place.

        Args:
            batches: Inputs of the model.
        """
        layers = [
            layer
            for layer in batch_norms(self._model)
            if layer.trainable and not keeps_statistics(layer)
        ]
        if not layers:
            return
        if layers != self._layers:
            self._layers = layers
            self._forward = tf.function(
                lambda images: self._model(images, training=True), autograph=False
            )
        statistics = [v for layer in layers for v in (layer.moving_mean, layer.moving_variance)]
        momenta = [layer.momentum for layer in layers]
        sums = [np.zeros(variable.shape) for variable in statistics]
        count = 0
        try:
            for layer in layers:
                layer.momentum = 0.0  # the statistics of a batch are then left as they are
            for count, images in enumerate(batches, start=1):  # noqa: B007
                self._forward(images)
                for total, variable in zip(sums, statistics, strict=True):
                    total += variable.numpy()
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum
        if count:
            for variable, total in zip(statistics, sums, strict=True):
                variable.assign(total / count)
