"""Preparation of the batch normalisations of a backbone for its training."""

import keras
from absl import logging

from keras_distill.errors import renamed_arguments
from keras_distill.models.frozen_batch_norm import freeze_batch_norm, has_folded_batch_norm
from keras_distill.settings.backbone import BackboneSettings


def prepare_batch_norms(settings: BackboneSettings, backbone: keras.Model) -> None:
    """Freezes the statistics of a backbone if the settings say so.

    Warns of folded batch normalisations that are not frozen, in which training would undo what the
    weights have learnt.

    Args:
        settings: The settings.
        backbone: The backbone, with its weights.

    Raises:
        InputError: If there is nothing to freeze.
    """
    if settings.freeze_batch_norm:
        with renamed_arguments(model="freeze_batch_norm"):
            freeze_batch_norm(backbone)
    elif has_folded_batch_norm(backbone):
        logging.warning(
            "The batch normalisations in `backbone_weights=%s` are folded into the convolutions: "
            "their means are all 0. Normalising by the statistics of each batch undoes what the "
            "weights have learnt; keep the statistics with `freeze_batch_norm`.",
            settings.backbone_weights,
        )
