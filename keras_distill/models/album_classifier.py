"""Album classifier: the vectors of an album's images in, a logit for each label out."""

from collections.abc import Sequence

import keras

from keras_distill.models.album_encoder import AlbumEncoder
from keras_distill.models.label_names import LOGITS, Activation, LabelNames, checked_names


def build_album_classifier(
    labels: Sequence[str],
    dim: int,
    encoder: AlbumEncoder | None = None,
    *,
    activation: Activation = "sigmoid",
    name: str = "album_classifier",
) -> keras.Model:
    """Builds an album encoder + linear head.

    Args:
        labels: Name of each label, in the order of the logits; see `find_labels`.
        dim: Width of the images' vectors.
        encoder: The encoder; by default `AlbumEncoder()`, which is PETA's.
        activation: As of `build_classifier`.
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
    return keras.Model(inputs, outputs, name=name)
