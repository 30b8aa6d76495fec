"""Classifier that returns its features next to its logits."""

from typing import Any

import keras

from keras_distill.errors import InputError
from keras_distill.models.class_head import split_head
from keras_distill.models.label_names import LOGITS
from keras_distill.models.loading import EMBEDDING
from keras_distill.models.unit_norm import unit_norm


def with_embedding(
    classifier: keras.Model, *, width: int | None = None, name: str = "with_embedding"
) -> keras.Model:
    """Lets a classifier return the features that its head takes as the output `embedding`.

    So `Supervised` can train the classifier by losses on both, such as `TeacherHead`. Dropout comes
    after the embedding.

    Args:
        classifier: A functional classifier, whose layers the result shares; see `split_head`.
        width: If given and not the width of the features, they are mapped to it by a new linear
            layer, `projection`, for losses that compare them with a teacher's of this width.
        name: Name of the model.

    Returns:
        A functional model from images to `logits` and `embedding`, `(batch, width)`.

    Raises:
        InputError: If it does not end with a head.

    Example:
        >>> from keras_distill import build_classifier
        >>> classifier = build_classifier(
        ...     ["cat", "dog"], "mobilenet", alpha=0.25, image_size=32, backbone_weights="none"
        ... )
        >>> {name: tensor.shape for name, tensor in with_embedding(classifier).output.items()}
        {'logits': (None, 2), 'embedding': (None, 256)}
    """
    if width is not None and width < 1:
        raise InputError(f"`width={width}` must be positive.")
    features, _ = split_head(classifier)
    embedding = before_dropout(features)
    if width not in (None, embedding.shape[-1]):
        embedding = keras.layers.Dense(width, dtype="float32", name="projection")(embedding)
    output = classifier.output
    logits = output[LOGITS] if isinstance(output, dict) else output
    return keras.Model(classifier.inputs[0], {LOGITS: logits, EMBEDDING: embedding}, name=name)


def embedder_of(classifier: keras.Model, *, name: str = "embedder") -> keras.Model:
    """Makes an embedder of a classifier: its features, divided by their L2 norm.

    Args:
        classifier: A functional classifier, whose layers the result shares; see `split_head`.
        name: Name of the model.

    Returns:
        A functional model from images to `(batch, dim)`, float32, rows of length 1.

    Raises:
        InputError: If it does not end with a head.
    """
    features, _ = split_head(classifier)
    embedding = before_dropout(features)
    return keras.Model(classifier.inputs[0], unit_norm(embedding.shape[-1])(embedding), name=name)


def before_dropout(features: keras.Model) -> Any:
    """Returns the output of a model of features, or what its last dropout takes."""
    last = features.layers[-1]
    return last.input if isinstance(last, keras.layers.Dropout) else features.output
