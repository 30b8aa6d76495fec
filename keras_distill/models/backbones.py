"""Convolutional backbones by name, and the pixels that each expects."""

import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from keras_distill.errors import InputError

if TYPE_CHECKING:  # the commands list the backbones in their help without loading Keras
    import keras


@dataclass(frozen=True)
class Backbone:
    """One backbone of `keras.applications`.

    Attributes:
        constructor: Its name there.
        scaling: How its ImageNet weights expect the pixels, in the names of
            `keras.applications.imagenet_utils.preprocess_input`.
        takes_alpha: Whether it has a width multiplier.
        scales_itself: Whether it would scale its pixels, which is switched off.
        image_size: Height and width in pixels that its ImageNet weights were trained on.
    """

    constructor: str
    scaling: Literal["caffe", "tf", "torch"]
    takes_alpha: bool = False
    scales_itself: bool = False
    image_size: int = 224


BACKBONES = {
    "resnet50": Backbone("ResNet50", "caffe"),
    "resnet101": Backbone("ResNet101", "caffe"),
    "resnet152": Backbone("ResNet152", "caffe"),
    "mobilenet": Backbone("MobileNet", "tf", takes_alpha=True),
    "mobilenet_v2": Backbone("MobileNetV2", "tf", takes_alpha=True),
    "mobilenet_v3_small": Backbone("MobileNetV3Small", "tf", True, True),
    "mobilenet_v3_large": Backbone("MobileNetV3Large", "tf", True, True),
    "efficientnet_v2_b0": Backbone("EfficientNetV2B0", "torch", scales_itself=True),
    "efficientnet_v2_b1": Backbone("EfficientNetV2B1", "torch", scales_itself=True, image_size=240),
    "efficientnet_v2_b2": Backbone("EfficientNetV2B2", "torch", scales_itself=True, image_size=260),
    "efficientnet_v2_b3": Backbone("EfficientNetV2B3", "torch", scales_itself=True, image_size=300),
    "convnext_tiny": Backbone("ConvNeXtTiny", "torch", scales_itself=True),
}


def build_backbone(
    name: str, *, image_size: int, alpha: float = 1.0, weights: str, layer: str = ""
) -> "keras.Model":
    """Builds a backbone without its classifier.

    Args:
        name: A key of `BACKBONES`.
        image_size: Height and width of the input, in pixels.
        alpha: Width multiplier, for the MobileNets.
        weights: `"imagenet"` (fetched by Keras), `"none"`, or the path of a `.weights.h5` file for
            the whole backbone.
        layer: Name of the layer to end with; the backbone's last one if empty.

    Returns:
        A model from float pixels, scaled as the backbone expects, to a feature map
        `(batch, h, w, channels)`.

    Raises:
        InputError: If the backbone is unknown or an argument does not fit it.
    """
    if name not in BACKBONES:
        raise InputError(f"`name={name!r}` is unknown; choose one of {', '.join(BACKBONES)}.")
    backbone = BACKBONES[name]
    if image_size < 32:
        raise InputError(f"`image_size={image_size}` is too small; the backbones need at least 32.")
    if alpha <= 0:
        raise InputError(f"`alpha={alpha}` must be positive, e.g. 0.25.")
    if alpha != 1.0 and not backbone.takes_alpha:
        with_alpha = [name for name, backbone in BACKBONES.items() if backbone.takes_alpha]
        raise InputError(
            f"`alpha={alpha}` does not apply to {name}, which has one width; leave it at 1.0 or "
            f"choose one of {', '.join(with_alpha)}."
        )
    options: dict[str, Any] = {}
    if backbone.takes_alpha:
        options["alpha"] = alpha
    if backbone.scales_itself:
        options["include_preprocessing"] = False
    path = None if weights in ("imagenet", "none") else Path(weights)
    if path is not None and not path.is_file():
        raise InputError(
            f"`weights={weights!r}` is neither 'imagenet' nor 'none' nor an existing file."
        )
    import keras

    try:
        model = getattr(keras.applications, backbone.constructor)(
            include_top=False,
            input_shape=(image_size, image_size, 3),
            weights="imagenet" if weights == "imagenet" else None,
            **options,
        )
    except Exception as error:  # whatever the download throws
        if weights != "imagenet":
            raise InputError(
                f"{name} cannot be built with `image_size={image_size}` and `alpha={alpha}`: "
                f"{error}"
            ) from error
        raise InputError(
            f"`weights=imagenet`: Keras could not provide weights for {name} ({error}). "
            "Give the path of a .weights.h5 file, or 'none' to start from scratch."
        ) from error
    if path is not None:
        try:
            with warnings.catch_warnings():
                # Keras warns of each layer that does not fit, and raises after that.
                warnings.filterwarnings("ignore", "Skipping nested container")
                model.load_weights(path)
        except (ValueError, OSError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
            raise InputError(
                f"`weights={weights!r}` does not fit {name} with `alpha={alpha}`: {error}"
            ) from error
    output = _layer_output(model, layer) if layer else model.output
    return keras.Model(model.input, output, name="trunk")


def _layer_output(model: "keras.Model", layer: str) -> Any:
    candidates = {k.name: k.output for k in model.layers if len(k.output.shape) == 4}
    if layer not in candidates:
        raise InputError(
            f"`layer={layer!r}` is not a layer of {model.name} with a feature map; it has "
            f"{', '.join(candidates)}."
        )
    return candidates[layer]
