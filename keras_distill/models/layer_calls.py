"""Replaced `call` methods of layers: batch normalisations are fused, others tapped."""

from collections.abc import Sequence

import keras

from keras_distill.models.feature_tap import FeatureTap
from keras_distill.models.fused_batch_norm import fuse_batch_norm


def replace_calls(model: keras.Model) -> None:
    """Fuses the batch normalisations of a model that was built, loaded or cloned, in place.

    Whoever makes a model that is trained, or embeds many images, calls this, and `tap_features` if
    inner layers are compared: neither is saved or cloned with the model. No other module replaces
    a `call` to stay (`unfold_batch_norm` puts it back), so that the order is always the same. A
    batch normalisation that was tapped first would never be fused, and would round differently.

    Args:
        model: The model; each layer of it is changed once.
    """
    fuse_batch_norm(model)


def tap_features(
    model: keras.Model, layers: Sequence[str], *, unnormalised: bool = False
) -> FeatureTap:
    """Fuses the batch normalisations of a model, and then taps some of its layers, in place.

    Args:
        model: A functional or sequential model.
        layers: Names of layers with a feature map, or their paths; see `find_path`.
        unnormalised: Whether the vectors before the unit norm are tapped too; see `FeatureTap`.

    Returns:
        The tap, which runs the model and returns the maps.

    Raises:
        InputError: As `FeatureTap`.
    """
    replace_calls(model)
    return FeatureTap(model, layers, unnormalised=unnormalised)
