"""Method of the recipe head_sharing: a classifier, with losses on its logits and its features."""

from typing import Any

import keras

from keras_distill.data.image_set import ImageSet
from keras_distill.losses.contrastive_teacher import ContrastiveTeacher
from keras_distill.losses.kde_teacher import KdeTeacher
from keras_distill.losses.logits_teacher import LogitsTeacher
from keras_distill.losses.margin_softmax import MarginSoftmax
from keras_distill.methods.supervised import Supervised
from keras_distill.models.class_head import split_head
from keras_distill.models.embedding_output import with_embedding
from keras_distill.models.label_names import LOGITS
from keras_distill.models.loading import EMBEDDING
from keras_distill.models.mixed_heads import mix_heads
from keras_distill.recipes.head_teacher import HeadTeacher
from keras_distill.recipes.losses import head_loss
from keras_distill.settings.head_sharing import HeadSharingSettings


def build_head_method(
    settings: HeadSharingSettings,
    classifier: keras.Model,
    teacher: HeadTeacher | None,
    images: ImageSet,
) -> tuple[Supervised, keras.Model]:
    """Builds the method, and its product.

    Args:
        settings: The settings.
        classifier: The classifier to train.
        teacher: Its teacher, with a head if the settings need one; `None` for labels alone.
        images: The training images.

    Returns:
        The method, and the classifier, mixed with the teacher's head if the settings say so.
    """
    weights = settings.weights
    losses = {LOGITS: _label_loss(settings, classifier, images)} if "label" in weights else {}
    own = {LOGITS: weights["label"]} if losses else {}
    if teacher is None:
        return Supervised(classifier, losses, loss_weights=own), classifier
    shared = bool({"head", "kde"} & weights.keys() or settings.head_mix)
    trained = with_embedding(classifier, width=teacher.width if shared else None)
    parts = _teacher_losses(settings, teacher, images)
    model = Supervised(
        trained,
        losses,
        teacher=teacher.outputs(),
        teacher_losses={name: [loss for loss, _ in each] for name, each in parts.items() if each},
        loss_weights=own
        | {f"{name}_{loss.name}": weight for name, each in parts.items() for loss, weight in each},
    )
    if not settings.head_mix or teacher.head is None:
        return model, classifier
    projection = next((layer for layer in trained.layers if layer.name == "projection"), None)
    head = teacher.head.layer("teacher_head")
    return model, mix_heads(classifier, head, settings.head_mix, projection=projection)


def _label_loss(
    settings: HeadSharingSettings, classifier: keras.Model, images: ImageSet
) -> keras.losses.Loss:
    scale = split_head(classifier)[1].scale
    if scale is None:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return MarginSoftmax(len(images.class_names), settings.angle, scale)


def _teacher_losses(
    settings: HeadSharingSettings, teacher: HeadTeacher, images: ImageSet
) -> dict[str, list[tuple[Any, float]]]:
    """The losses against the teacher with their weights, by the output that they compare."""
    weights, head = settings.weights, teacher.head
    parts: dict[str, list[tuple[Any, float]]] = {LOGITS: [], EMBEDDING: []}
    if "logits" in weights:
        parts[LOGITS].append((LogitsTeacher(settings.temperature), weights["logits"]))
    if "head" in weights and head is not None:
        loss = head_loss(head, temperature=settings.temperature)
        parts[EMBEDDING].append((loss, weights["head"]))
    if "kde" in weights:
        parts[EMBEDDING].append((KdeTeacher(), weights["kde"]))
    if "crd" in weights:
        contrastive = ContrastiveTeacher(
            images.labels,
            negatives=settings.crd_negatives,
            temperature=settings.crd_temperature,
            momentum=settings.crd_momentum,
            dim=settings.crd_dim,
            seed=settings.seed,
        )
        parts[EMBEDDING].append((contrastive, weights["crd"]))
    return parts
