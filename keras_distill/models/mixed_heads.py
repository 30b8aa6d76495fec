"""Classifier that mixes the probabilities of two heads."""

import math

import keras

from keras_distill.errors import InputError
from keras_distill.models.class_head import head_layer, split_head
from keras_distill.models.embedding_output import before_dropout
from keras_distill.models.label_names import LOGITS, LabelNames, find_labels


def mix_heads(
    classifier: keras.Model,
    teacher_head: keras.layers.Layer,
    weight: float,
    *,
    projection: keras.layers.Layer | None = None,
    name: str = "mixed_classifier",
) -> keras.Model:
    """Mixes the probabilities of a student's head and of the teacher's head on its features.

    `p = (1 - weight) softmax(student's logits) + weight softmax(teacher's head)`, an option of the
    code of "It's All in the Head" (arXiv 2201.06945), off by default there.

    Args:
        classifier: A functional classifier, whose layers the result shares; see `split_head`.
        teacher_head: Layer from the features to the teacher's logits.
        weight: Share of the teacher's head, from 0 to 1; 0 gives the student's logits as they are.
        projection: Layer between the features and `teacher_head`, if their widths differ.
        name: Name of the model.

    Returns:
        A functional model with the output `logits`, whose softmax are the probabilities `p`.

    Raises:
        InputError: If the weight is no share, or the classifier does not end with a head and names.
    """
    if not 0 <= weight <= 1:
        raise InputError(f"`weight={weight}` is a share, from 0 to 1.")
    labels = find_labels(classifier)
    if labels is None:
        raise InputError(
            f"`classifier` {classifier.name!r} has no names of its classes; give a model of "
            "build_classifier."
        )
    own = keras.ops.log_softmax(head_layer(classifier).output)
    embedding = before_dropout(split_head(classifier)[0])
    if projection is not None:
        embedding = projection(embedding)
    other = keras.ops.log_softmax(keras.ops.cast(teacher_head(embedding), "float32"))
    if 0 < weight < 1:
        mixed = keras.ops.logaddexp(own + math.log(1 - weight), other + math.log(weight))
    else:
        mixed = other if weight else head_layer(classifier).output
    named = LabelNames(labels.names, labels.thresholds, labels.activation)
    return keras.Model(classifier.inputs[0], {LOGITS: named(mixed)}, name=name)
