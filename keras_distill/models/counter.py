"""Counter: raw pixels in, a density map and its sum out."""

from typing import Any

import keras
from keras import ops

from keras_distill.errors import InputError
from keras_distill.models.pooled_features import pooled_features

#: Names of the outputs of a model of `build_counter`.
DENSITY, COUNT = "density", "count"


def build_counter(
    backbone: str | keras.Model = "mobilenet",
    *,
    image_size: int | None = None,
    alpha: float = 1.0,
    backbone_weights: str = "imagenet",
    backbone_layer: str = "",
    dropout: float = 0.0,
    name: str = "counter",
) -> keras.Model:
    """Builds preprocessing + backbone + a convolution of 3 x 3 to a density map of one channel.

    The backbone is followed by one convolution, as in crowd counting by ranking (CVPR 2018, arXiv
    1803.03095). Its map should be fine: end it at a stride of 16 or less, with `backbone_layer`
    `conv_pw_11_relu` of a MobileNet, where a MobileNet has 32 at its end.

    Args:
        backbone: As of `build_classifier`, like all arguments that are not named here; its features
            must be a map.
        image_size: As there.
        alpha: As there.
        backbone_weights: As there.
        backbone_layer: As there.
        dropout: As there.
        name: Name of the model.

    Returns:
        A functional model from `image`, RGB from 0 to 255, to the outputs `density`, `(batch,
        rows, columns, 1)`, objects in each cell, and `count`, `(batch, 1)`, its sum, both float32
        under every dtype policy. `with_open_size` makes it count images of any size.

    Raises:
        InputError: If an argument is unknown or does not fit the others.

    Example:
        >>> counter = build_counter(
        ...     "mobilenet",
        ...     alpha=0.25,
        ...     image_size=64,
        ...     backbone_weights="none",
        ...     backbone_layer="conv_pw_11_relu",
        ... )
        >>> {name: tensor.shape for name, tensor in sorted(counter.output.items())}
        {'count': (None, 1), 'density': (None, 4, 4, 1)}
    """
    image, x = pooled_features(
        backbone,
        image_size=image_size,
        alpha=alpha,
        backbone_weights=backbone_weights,
        backbone_layer=backbone_layer,
        dropout=dropout,
        pool=False,
    )
    if len(x.shape) != 4:
        raise InputError(
            f"`backbone_layer={backbone_layer!r}` gives features of shape {tuple(x.shape)}; a "
            "density map needs a feature map."
        )
    density = keras.layers.Conv2D(1, 3, padding="same", dtype="float32", name=DENSITY)(x)
    count: Any = ops.reshape(ops.sum(density, axis=(1, 2, 3)), (-1, 1))
    return keras.Model(image, {DENSITY: density, COUNT: count}, name=name)
