"""Album classifier: the vectors of an album's images in, a logit for each label out."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_distill.models.album_encoder import AlbumEncoder
from keras_distill.models.album_means import mean_probabilities, mean_vectors
from keras_distill.models.label_names import LOGITS, Activation, LabelNames, checked_names

#: Names of the outputs of the baselines, and what they are.
BASELINES = {"mean_vectors": "mean of vectors", "mean_probabilities": "mean of probabilities"}
#: Least probability, because the logit of 0 would be infinite.
LEAST_PROBABILITY = 1e-6


def build_album_classifier(
    labels: Sequence[str],
    dim: int,
    encoder: AlbumEncoder | None = None,
    *,
    activation: Activation = "sigmoid",
    baselines: bool = False,
    name: str = "album_classifier",
) -> keras.Model:
    """Builds an album encoder + linear head.

    Args:
        labels: Name of each label, in the order of the logits; see `find_labels`.
        dim: Width of the images' vectors.
        encoder: The encoder; by default `AlbumEncoder()`, which is PETA's.
        activation: As of `build_classifier`.
        baselines: Whether there are the outputs `mean_vectors` and `mean_probabilities` too: logits
            of a linear classifier of the mean of the vectors, and of the mean of the probabilities
            that a linear classifier gives to each image. They are not trained with the encoder, but
            fitted afterwards.
        name: Name of the model.

    Returns:
        A functional model from a dict of `vectors`, `(batch, n, dim)`, and `mask`, `(batch, n)`, 1
        where there is an image, to a dict of `logits`, `(batch, len(labels))`, and `attention`,
        `(batch, n)`, the importance of each image; float32 under every dtype policy.

    Raises:
        InputError: If the labels cannot be used, or the encoder does not fit the width.

    Example:
        >>> model = build_album_classifier(["birthday", "hiking"], 16, AlbumEncoder(1, 2, 32))
        >>> {name: tensor.shape for name, tensor in model.output.items()}
        {'logits': (None, 2), 'attention': (None, None)}
    """
    names = checked_names(labels)
    inputs = {
        "vectors": keras.Input((None, dim), name="vectors"),
        "mask": keras.Input((None,), name="mask"),
    }
    encoder = AlbumEncoder() if encoder is None else encoder
    album, attention = encoder(inputs["vectors"], mask=inputs["mask"])
    logits = keras.layers.Dense(len(names), dtype="float32", name="head")(album)
    outputs = {LOGITS: LabelNames(names, activation=activation)(logits), "attention": attention}
    if baselines:
        for output, logits in _baselines(len(names), inputs, activation).items():
            outputs[output] = LabelNames(names, activation=activation, name=output)(logits)
    return keras.Model(inputs, outputs, name=name)


def _baselines(count: int, inputs: dict[str, Any], activation: Activation) -> dict[str, Any]:
    """The logits of the baselines, float32."""

    def head(name: str) -> keras.Layer:
        return keras.layers.Dense(count, dtype="float32", name=f"{name}_head", trainable=False)

    vectors = ops.cast(inputs["vectors"], "float32")
    vectors = ops.where(ops.cast(inputs["mask"], "bool")[..., None], vectors, 0.0)  # may be NaN
    mean = head("mean_vectors")(mean_vectors(vectors, inputs["mask"]))
    each = head("mean_probabilities")(vectors)
    probability = mean_probabilities(each, inputs["mask"], activation=activation)
    probability = ops.clip(probability, LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
    log_odds = ops.log(probability)
    if activation == "sigmoid":
        log_odds = log_odds - ops.log1p(-probability)
    return {"mean_vectors": mean, "mean_probabilities": log_odds}
