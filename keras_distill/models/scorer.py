"""Scorer: raw pixels in, a score out."""

from typing import Any

import keras

from keras_distill.errors import InputError
from keras_distill.models.pooled_features import pooled_features
from keras_distill.models.product import EMBEDDING, by_name
from keras_distill.models.score_scale import SCORE, ScoreScale

#: Name of the linear layer below the score.
SCORE_HEAD = "score_head"


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
    return keras.Model(image, {SCORE: _score(x, scale)}, name=name)


def add_score(
    embedder: keras.Model,
    *,
    layer: str = "pooling",
    scale: ScoreScale | None = None,
    name: str = "scoring_embedder",
) -> keras.Model:
    """Adds a score to an embedder: one forward pass, two outputs.

    The embedder is frozen, so that its vectors stay as they are and fit their index; the score is
    a linear function of its features.

    Args:
        embedder: A model of `build_embedder`, whose layers and weights are shared.
        layer: Name of its layer with the features, a vector or a map.
        scale: Scale of the scores.
        name: Name of the model.

    Returns:
        A functional model from `image` to `embedding` and `score`.

    Raises:
        InputError: If the embedder has no such layer, or is none.

    Example:
        >>> embedder = build_embedder(
        ...     "mobilenet", alpha=0.25, image_size=64, embedding_dim=8, backbone_weights="none"
        ... )
        >>> model = add_score(embedder)
        >>> {name: tensor.shape for name, tensor in sorted(model.output.items())}
        {'embedding': (None, 8), 'score': (None, 1)}
    """
    outputs = by_name(embedder.output) or {}
    if set(outputs) != {EMBEDDING}:
        raise InputError(
            f"`embedder` {embedder.name!r} returns {', '.join(outputs) or 'no vector'}, not an "
            "embedding alone; give a model of build_embedder()."
        )
    layers = {each.name: each.output for each in embedder.layers}
    if layer not in layers:
        raise InputError(f"`layer={layer!r}` is not a layer of it; it has {', '.join(layers)}.")
    embedder.trainable = False
    x = layers[layer]
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D(name="score_pooling")(x)
    return keras.Model(embedder.inputs[0], {**outputs, SCORE: _score(x, scale)}, name=name)


def _score(features: Any, scale: ScoreScale | None) -> Any:
    return (scale or ScoreScale())(
        keras.layers.Dense(1, dtype="float32", name=SCORE_HEAD)(features)
    )
