"""Preparation of the batch normalisations of a backbone for its training."""

from collections.abc import Callable, Iterable
from typing import Any

import keras

from keras_distill.errors import renamed_arguments
from keras_distill.models.frozen_batch_norm import freeze_batch_norm, has_folded_batch_norm
from keras_distill.models.unfolded_batch_norm import unfold_batch_norm
from keras_distill.settings.backbone import BackboneSettings


def freeze_batch_norms(settings: BackboneSettings, backbone: keras.Model) -> None:
    """Freezes the statistics of a backbone if the settings say so.

    Args:
        settings: The settings.
        backbone: The backbone, with its weights.

    Raises:
        InputError: If there is nothing to freeze.
    """
    if settings.freeze_batch_norm:
        with renamed_arguments(model="freeze_batch_norm"):
            freeze_batch_norm(backbone)


def unfold_batch_norms(
    settings: BackboneSettings,
    product: keras.Model,
    batches: Iterable[Any],
    say: Callable[[str], None],
) -> None:
    """Gives folded batch normalisations that are to be trained the statistics of training images.

    Args:
        settings: The settings.
        product: The model, with the weights that its training starts from.
        batches: Inputs of the model, the same ones in each process.
        say: Prints a line.

    Raises:
        InputError: If a batch normalisation has no `gamma` or no `beta`.
    """
    if not settings.freeze_batch_norm and has_folded_batch_norm(product):
        with renamed_arguments(model=f"backbone_weights={settings.backbone_weights}"):
            unfold_batch_norm(product, batches)
        say(
            "The batch normalisations of the weights were folded into the convolutions; they have "
            "the statistics of training images now, and compute the same. `freeze_batch_norm` "
            "keeps them as they were."
        )
