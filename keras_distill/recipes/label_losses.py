"""Losses on labels that the settings name."""

from typing import Any

import keras
import numpy as np

from keras_distill.losses.labels.asymmetric_loss import AsymmetricLoss
from keras_distill.losses.labels.partial_selective_loss import PartialSelectiveLoss
from keras_distill.losses.labels.semantic_diversity_loss import SemanticDiversityLoss
from keras_distill.settings.multilabel import LABEL_LOSS_SETTINGS, LabelLossSettings


def build_label_loss(
    settings: LabelLossSettings,
    *,
    prior: np.ndarray | None = None,
    word_vectors: np.ndarray | None = None,
) -> keras.losses.Loss | None:
    """Builds the loss on the labels.

    Args:
        settings: The settings, checked.
        prior: How frequent each label is, `(labels,)`, for `label_loss=partial_selective`.
        word_vectors: A vector for each label `(labels, dim)`, for `label_loss=semantic_diversity`.

    Returns:
        The loss; `None` for `label_loss=none`.
    """
    if settings.label_loss == "none":
        return None
    own = {name: getattr(settings, name) for name in LABEL_LOSS_SETTINGS[settings.label_loss]}
    arguments: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
    if settings.label_loss == "bce":
        return AsymmetricLoss(0.0, 0.0, clip=0.0, name="bce")
    if settings.label_loss == "focal":
        gamma = arguments.get("gamma_positive", 2.0)
        return AsymmetricLoss(gamma, gamma, clip=0.0, name="focal")
    if settings.label_loss == "asymmetric":
        return AsymmetricLoss(**arguments)
    if settings.label_loss == "partial_selective":
        mode = arguments.pop("partial_mode")
        return PartialSelectiveLoss(mode, **(arguments | {"prior": prior}))
    weight = arguments.get("diversity_weight")
    options: dict[str, Any] = {} if weight is None else {"weight": weight}
    return SemanticDiversityLoss(word_vectors, diversity=settings.label_diversity, **options)
