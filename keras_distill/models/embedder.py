"""Embedder: raw pixels in, unit vectors out."""

import keras

from keras_distill.errors import InputError
from keras_distill.models.former_arguments import former_arguments
from keras_distill.models.pooled_features import pooled_features
from keras_distill.models.unit_norm import unit_norm


@former_arguments(trunk="backbone", trunk_weights="backbone_weights", trunk_layer="backbone_layer")
def build_embedder(
    backbone: str = "mobilenet",
    *,
    image_size: int | None = None,
    alpha: float = 1.0,
    embedding_dim: int = 512,
    backbone_weights: str = "imagenet",
    backbone_layer: str = "",
    dropout: float = 0.0,
    name: str = "embedder",
) -> keras.Model:
    """Builds preprocessing + backbone + average pooling + dropout + linear head + unit L2 norm.

    The model is made of Keras' own layers alone, so its `.keras` file loads wherever Keras does.

    Args:
        backbone: Name of the backbone, a key of `keras_distill.models.backbones.BACKBONES`.
        image_size: Height and width of the input, in pixels; by default those that the backbone's
            ImageNet weights were trained on.
        alpha: Width multiplier, for the MobileNets.
        embedding_dim: Width of the embedding; 0 for no head: the pooled features, normalised.
        backbone_weights: `"imagenet"`, `"none"`, or the path of a `.weights.h5` file.
        backbone_layer: Name of the backbone's layer whose feature map is pooled; its last if empty.
        dropout: Share of the pooled features that are dropped before the head, in training only.
        name: Name of the model.

    Returns:
        A functional model with the input `image`, `(batch, image_size, image_size, 3)`, RGB from
        0 to 255 (uint8 or float), and the output `(batch, dim)`, float32, rows of length 1.

    Raises:
        InputError: If an argument is unknown or does not fit the backbone.

    Example:
        >>> embedder = build_embedder(
        ...     "mobilenet", alpha=0.25, image_size=64, embedding_dim=128, backbone_weights="none"
        ... )
        >>> embedder.output_shape
        (None, 128)
    """
    _check_head(embedding_dim, dropout)
    image, x = pooled_features(
        backbone,
        image_size=image_size,
        alpha=alpha,
        backbone_weights=backbone_weights,
        backbone_layer=backbone_layer,
        dropout=dropout,
    )
    if embedding_dim:
        x = keras.layers.Dense(
            embedding_dim,
            kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out"),
            name="head",
        )(x)
    return keras.Model(image, unit_norm(x.shape[-1])(x), name=name)


def _check_head(embedding_dim: int, dropout: float) -> None:
    if embedding_dim < 0:
        raise InputError(f"`embedding_dim={embedding_dim}` must be positive, or 0 for no head.")
    if dropout and not embedding_dim:
        raise InputError(
            f"`dropout={dropout}` comes before the head, and `embedding_dim=0` leaves it out; give "
            "the student a head."
        )
