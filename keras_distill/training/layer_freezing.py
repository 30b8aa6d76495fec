"""Freezing of layers in the first epochs."""

from typing import Any

import keras

from keras_distill.methods.optimizers import build_optimizers
from keras_distill.models.keras_internals import all_layers


class LayerFreezing(keras.callbacks.Callback):
    """Freezes a layer, or a model within the model, in the first epochs of a training.

    A frozen layer costs no backward pass, and its batch normalisations use and keep their
    statistics, which belong to its weights. The optimiser is built for all variables before the
    training, and kept; only the step is traced again. Use `LayerwiseAdam` with `count_updates`. A
    model that is saved meanwhile has the layer's `trainable` false.

    Args:
        layer: The layer.
        epochs: Number of epochs.
    """

    def __init__(self, layer: keras.Layer, epochs: int):
        super().__init__()
        self._epochs = epochs
        # Layers within may be frozen for good.
        self._trainable = [(part, part.trainable) for part in all_layers(layer)]
        self._layer = layer
        self._frozen = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        build_optimizers(self.model)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._set_frozen(epoch < self._epochs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._set_frozen(False)

    def _set_frozen(self, frozen: bool) -> None:
        if frozen == self._frozen:
            return
        self._frozen = frozen
        if frozen:
            self._layer.trainable = False
        else:
            for part, trainable in self._trainable:
                part.trainable = trainable
        self.model.make_train_function(force=True)
