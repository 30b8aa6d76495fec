"""Classifier: raw pixels in, a logit for each label out."""

from collections.abc import Sequence

import keras

from keras_distill.models.cosine_head import CosineHead
from keras_distill.models.label_names import LOGITS, Activation, LabelNames, checked_names
from keras_distill.models.pooled_features import pooled_features


def build_classifier(
    labels: Sequence[str],
    backbone: str | keras.Model = "mobilenet",
    *,
    image_size: int | None = None,
    alpha: float = 1.0,
    backbone_weights: str = "imagenet",
    backbone_layer: str = "",
    dropout: float = 0.0,
    activation: Activation = "sigmoid",
    scale: float | None = None,
    name: str = "classifier",
) -> keras.Model:
    """Builds preprocessing + backbone + average pooling + dropout + head.

    The names of the labels are kept in the model, see `find_labels`, and are exported with it.

    Args:
        labels: Name of each label, in the order of the logits.
        backbone: Name of the backbone, as of `build_embedder`; or a trained model of images, such
            as an embedder, whose layers and weights become part of the classifier. Its own output
            is the input of the head then, or the layer `backbone_layer`.
        image_size: As of `build_embedder`.
        alpha: As of `build_embedder`.
        backbone_weights: As of `build_embedder`.
        backbone_layer: Name of the backbone's layer whose feature map is pooled; its last if empty.
            `"pooling"` of an embedder takes the features before its head and its unit norm.
        dropout: Share of the pooled features that are dropped before the head, in training only.
        activation: What turns the logits into probabilities: `"sigmoid"` where an image may have
            several labels, `"softmax"` where it has one. The model returns logits in either case.
        scale: If given, the head is a `CosineHead`: a vector for each class, as of ArcFace and of
            proxies, whose cosine with the features times this factor is the logit. Without, it is
            linear.
        name: Name of the model.

    Returns:
        A functional model with the input `image`, `(batch, image_size, image_size, 3)`, RGB from
        0 to 255 (uint8 or float), and the output `logits`, `(batch, len(labels))`, float32 under
        every dtype policy.

    Raises:
        InputError: If an argument is unknown or does not fit the others.

    Example:
        >>> classifier = build_classifier(
        ...     ["bird", "boat"], "mobilenet", alpha=0.25, image_size=64, backbone_weights="none"
        ... )
        >>> {name: tensor.shape for name, tensor in classifier.output.items()}
        {'logits': (None, 2)}
    """
    names = checked_names(labels)
    image, x = pooled_features(
        backbone,
        image_size=image_size,
        alpha=alpha,
        backbone_weights=backbone_weights,
        backbone_layer=backbone_layer,
        dropout=dropout,
    )
    if scale is None:
        head: keras.Layer = keras.layers.Dense(len(names), dtype="float32", name="head")
    else:
        head = CosineHead(len(names), scale, name="head")
    logits = head(x)
    return keras.Model(image, {LOGITS: LabelNames(names, activation=activation)(logits)}, name=name)
