"""Models that end after an inner layer of another one."""

from typing import Any

import keras

from keras_distill.errors import InputError
from keras_distill.models.inner_layers import find_path
from keras_distill.models.unit_norm import unit_norm


def end_at_layer(model: keras.Model, layer: str) -> keras.Model:
    """Ends a model after an inner layer, as a model from its input to a unit vector.

    A feature map `(batch, h, w, channels)` is averaged over its places. The vector is divided by
    its L2 norm in float32, because some losses compare the vectors themselves.

    Args:
        model: A functional or sequential model; the layer may lie in a model within it.
        layer: Name of the layer, `"conv5_block3_out"`, or its path, `"trunk/conv5_block3_out"`. Of
            a layer that is used several times, the first use counts.

    Returns:
        A model that shares the weights of `model`, with an output `(batch, dim)`.

    Raises:
        InputError: If no layer with a vector or a feature map has this name, or several have.
    """
    path = find_path(model, layer)
    if len(model.inputs) != 1:
        raise InputError(f"`model` {model.name!r} has {len(model.inputs)} inputs, not one.")
    features = keras.Model(_inputs(model), _tensor(model, path.split("/")), name="features")
    # A model of its own inside another: their layers may have the same names.
    image = keras.Input(batch_shape=features.inputs[0].shape, dtype=features.inputs[0].dtype)
    x = features(image)
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D(dtype="float32", name="pooling")(x)
    return keras.Model(image, unit_norm(x.shape[-1])(x), name=model.name)


def _tensor(model: keras.Model, path: list[str]) -> Any:
    """The output of the layer at the end of a path, for the input of `model`."""
    layer = model.get_layer(path[0])
    if len(path) == 1:
        return _in_graph(layer, "output")
    inner = keras.Model(_inputs(layer), _tensor(layer, path[1:]), name=layer.name)
    return inner(_in_graph(layer, "input"))


def _inputs(model: keras.Model) -> Any:
    return model.inputs[0] if len(model.inputs) == 1 else model.inputs


def _in_graph(layer: keras.Layer, side: str) -> Any:
    """The input or output of a layer in the outer graph; a model's own are the inner ones."""
    return getattr(keras.Operation, side).fget(layer)
