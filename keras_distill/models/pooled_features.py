"""Pooled features of a backbone, for the models that put a head on them."""

from typing import Any

import keras
from keras import ops

from keras_distill.errors import InputError, renamed_arguments
from keras_distill.models.backbones import BACKBONES, build_backbone
from keras_distill.models.imagenet_scaling import (
    CAFFE_MEAN_BGR,
    TORCH_MEAN,
    TORCH_STANDARD_DEVIATION,
)
from keras_distill.models.keras_internals import all_layers
from keras_distill.models.loading import input_size


def pooled_features(
    backbone: str | keras.Model,
    *,
    image_size: int | None = None,
    alpha: float = 1.0,
    backbone_weights: str = "imagenet",
    backbone_layer: str = "",
    dropout: float = 0.0,
    pool: bool = True,
) -> tuple[Any, Any]:
    """Connects preprocessing, backbone, average pooling and dropout.

    Args:
        backbone: Name of the backbone, a key of `keras_distill.models.backbones.BACKBONES`; or a
            model of images, such as a trained embedder, whose layers, weights included, become
            part of the new model, in its layer `trunk`.
        image_size: Height and width of the input, in pixels; by default those that the backbone's
            ImageNet weights were trained on.
        alpha: Width multiplier, for the MobileNets.
        backbone_weights: `"imagenet"`, `"none"`, or the path of a `.weights.h5` file.
        backbone_layer: Name of the backbone's layer whose feature map is pooled; its last if empty.
            Of a model, it may also be a layer with a vector, such as `pooling`.
        dropout: Share of the features that are dropped, in training only.
        pool: Whether a feature map is averaged.

    Returns:
        The symbolic input `image`, `(batch, image_size, image_size, 3)`, and the features
        `(batch, dim)`, or `(batch, height, width, dim)` if they are not pooled.

    Raises:
        InputError: If an argument is unknown or does not fit the backbone.
    """
    if not 0 <= dropout < 1:
        raise InputError(f"`dropout={dropout}` must be from 0 to below 1, such as 0.2.")
    if isinstance(backbone, keras.Model):
        _check_no_options(image_size, alpha, backbone_weights)
        image, x = _of_model(backbone, backbone_layer)
    elif backbone not in BACKBONES:
        raise InputError(
            f"`backbone={backbone!r}` is unknown; choose one of {', '.join(BACKBONES)}."
        )
    else:
        size = BACKBONES[backbone].image_size if image_size is None else image_size
        with renamed_arguments(weights="backbone_weights", layer="backbone_layer"):
            features = build_backbone(
                backbone,
                image_size=size,
                alpha=alpha,
                weights=backbone_weights,
                layer=backbone_layer,
            )
        image = keras.Input((size, size, 3), name="image")
        x = features(_preprocessing(BACKBONES[backbone].scaling, size)(image))
    if len(x.shape) == 4 and pool:
        x = keras.layers.GlobalAveragePooling2D(name="pooling")(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout")(x)
    return image, x


def find_backbone(model: keras.Model) -> Any:
    """Finds the backbone of a model of `pooled_features`, wherever in it.

    Args:
        model: The model.

    Returns:
        The inner model `trunk`.

    Raises:
        InputError: If it has none.
    """
    for layer in all_layers(model, include_self=False):
        if layer.name == "trunk":
            return layer
    raise InputError(f"`model` {model.name!r} has no backbone.")


def _check_no_options(image_size: int | None, alpha: float, backbone_weights: str) -> None:
    """Rejects what a model of one's own has fixed already."""
    if image_size is not None or alpha != 1.0 or backbone_weights != "imagenet":
        raise InputError(
            "`backbone` is a model, whose size, width and weights are fixed; leave `image_size`, "
            "`alpha` and `backbone_weights` out."
        )


def _of_model(model: keras.Model, layer: str) -> tuple[Any, Any]:
    """The input and the features of a model that is given as the backbone."""
    with renamed_arguments(model="backbone"):
        input_size(model)
    tensors = {each.name: _output_in_graph(each) for each in model.layers} if layer else {}
    named = {k: v for k, v in tensors.items() if len(getattr(v, "shape", ())) in (2, 4)}
    if layer and layer not in named:
        raise InputError(
            f"`backbone_layer={layer!r}` is not a layer of {model.name!r} with a vector or a "
            f"feature map; it has {', '.join(named)}."
        )
    output = named[layer] if layer else model.output
    if isinstance(output, dict | list | tuple):
        outputs = list(output.values()) if isinstance(output, dict) else list(output)
        output = outputs[0] if len(outputs) == 1 else None
    if len(getattr(output, "shape", ())) not in (2, 4):
        raise InputError(
            f"`backbone` {model.name!r} returns {model.output_shape}; it must have one output, a "
            "vector (batch, dim) or a feature map, or `backbone_layer` must name one of its layers."
        )
    trunk = keras.Model(model.inputs[0], output, name="trunk")
    image = image_input_like(model)
    return image, trunk(image)


def image_input_like(model: keras.Model) -> Any:
    """Makes an input `image` of the shape and type that a model takes."""
    taken = model.inputs[0]
    return keras.Input(batch_shape=taken.shape, dtype=taken.dtype, name="image")


def _output_in_graph(layer: keras.Layer) -> Any:
    """The output of a layer in the outer graph; a model's own is the one of its inner graph."""
    try:
        return keras.Operation.output.fget(layer)
    except (AttributeError, ValueError):
        return None


def _preprocessing(scaling: str, image_size: int) -> keras.Model:
    """The scaling that a backbone's weights expect, always in float32: bfloat16 would round it."""
    image = keras.Input((image_size, image_size, 3), name="pixels")
    x: Any = ops.cast(image, "float32")
    if scaling == "tf":
        scale, offset = 1 / 127.5, -1.0
    elif scaling == "torch":
        scale = (1 / TORCH_STANDARD_DEVIATION).tolist()
        offset = (-TORCH_MEAN / TORCH_STANDARD_DEVIATION).tolist()
    else:
        x = ops.flip(x, axis=-1)
        scale, offset = 1.0, (-CAFFE_MEAN_BGR).tolist()
    x = keras.layers.Rescaling(scale, offset, dtype="float32", name="scale")(x)
    return keras.Model(image, x, name="preprocessing")
