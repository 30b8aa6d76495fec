"""Scorer: raw pixels in, a score out."""

import keras

from keras_distill.models.pooled_features import pooled_features
from keras_distill.models.score_scale import SCORE, ScoreScale


def build_scorer(
    backbone: str | keras.Model = "mobilenet",
    *,
    image_size: int | None = None,
    alpha: float = 1.0,
    backbone_weights: str = "imagenet",
    backbone_layer: str = "",
    dropout: float = 0.0,
    scale: ScoreScale | None = None,
    name: str = "scorer",
) -> keras.Model:
    """Builds preprocessing + backbone + average pooling + dropout + a linear head of one output.

    Args:
        backbone: As of `build_classifier`, like all arguments that are not named here. With a
            trained embedder, the score comes from the same features.
        image_size: As there.
        alpha: As there.
        backbone_weights: As there.
        backbone_layer: As there.
        dropout: As there.
        scale: Scale of the scores; by default that of the head, without bounds.
        name: Name of the model.

    Returns:
        A functional model from `image`, RGB from 0 to 255, to the output `score`, `(batch, 1)`,
        float32 under every dtype policy.

    Raises:
        InputError: If an argument is unknown or does not fit the others.

    Example:
        >>> scorer = build_scorer("mobilenet", alpha=0.25, image_size=64, backbone_weights="none")
        >>> {name: tensor.shape for name, tensor in scorer.output.items()}
        {'score': (None, 1)}
    """
    image, x = pooled_features(
        backbone,
        image_size=image_size,
        alpha=alpha,
        backbone_weights=backbone_weights,
        backbone_layer=backbone_layer,
        dropout=dropout,
    )
    x = keras.layers.Dense(1, dtype="float32", name="head")(x)
    return keras.Model(image, {SCORE: (scale or ScoreScale())(x)}, name=name)
