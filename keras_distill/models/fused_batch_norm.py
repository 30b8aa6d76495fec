"""Batch normalisation by TensorFlow's fused kernel."""

from typing import Any

import keras
import tensorflow as tf

from keras_distill.models.keras_internals import all_layers


def fuse_batch_norm(model: keras.Model) -> None:
    """Lets the batch normalisations of a model compute by one fused kernel, in place.

    Keras composes them of a dozen operations, which take half of a MobileNet's training step on a
    CPU. Values, gradients, moving statistics and what is saved stay the same, within rounding. Left
    as they are: layers that do not normalise the channels of `(batch, height, width, channels)`,
    and those that are synchronised, renormalised or masked.

    Args:
        model: The model; each layer of it is changed once.
    """
    for layer in all_layers(model, include_self=False):
        if isinstance(layer, _FUSIBLE) and _is_plain(layer) and "call" not in vars(layer):
            # On the object, not the class: the saved model must stay one of Keras' own layers.
            object.__setattr__(layer, "call", _fused_call(layer, layer.call))


def synchronize_batch_norm(model: keras.Model) -> None:
    """Lets batch normalisations take their statistics from the rows of all replicas, in place.

    A replica that sees few rows has poor statistics, and the moving ones, which the model is saved
    with, are those of the first replica alone. Under a strategy of `tf.distribute` with more than
    one replica this mends both, for three small sums over the replicas in each layer and without
    the fused kernel. Elsewhere it changes nothing but the speed.

    Args:
        model: The model; each layer of it is changed once.
    """
    for layer in all_layers(model, include_self=False):
        if isinstance(layer, _FUSIBLE):
            layer.synchronized = True


_FUSIBLE = keras.layers.BatchNormalization


def _is_plain(layer: Any) -> bool:
    return type(layer) is _FUSIBLE and not (layer.synchronized or layer.renorm)


def _fused_call(layer: Any, original: Any) -> Any:
    def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        fits = len(inputs.shape) == 4 and layer.axis in (-1, 3) and mask is None
        if not fits or layer.synchronized or isinstance(inputs, keras.KerasTensor):
            return original(inputs, training=training, mask=mask)
        channels = inputs.shape[-1]
        updates = bool(training and layer.trainable)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.cast(inputs, layer.compute_dtype),
            scale=tf.cast(layer.gamma, tf.float32) if layer.scale else tf.ones([channels]),
            offset=tf.cast(layer.beta, tf.float32) if layer.center else tf.zeros([channels]),
            mean=[] if updates else tf.cast(layer.moving_mean, tf.float32),
            variance=[] if updates else tf.cast(layer.moving_variance, tf.float32),
            epsilon=layer.epsilon,
            is_training=updates,
        )
        if updates:
            # The kernel returns the unbiased variance; Keras keeps the biased one.
            count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), tf.float32)
            variance *= tf.maximum(count - 1, 0) / tf.maximum(count, 1)
            for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
                kept = tf.cast(moving, tf.float32) * layer.momentum
                moving.assign(kept + value * (1 - layer.momentum))
        return outputs

    return call
