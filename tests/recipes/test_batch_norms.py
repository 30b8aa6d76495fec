from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_distill.models.frozen_batch_norm import keeps_statistics
from keras_distill.recipes.batch_norms import prepare_batch_norms


@pytest.fixture
def backbone():
    norm = keras.layers.BatchNormalization(name="norm")
    return keras.Sequential([keras.Input((2,)), norm])


@pytest.fixture
def prepare(backbone, caplog):
    def run(gamma, beta, mean, variance, freeze=False):
        weights = [np.full(2, value) if np.isscalar(value) else value for value in (gamma, beta)]
        backbone.get_layer("norm").set_weights([*weights, np.array(mean), np.array(variance)])
        settings = SimpleNamespace(freeze_batch_norm=freeze, backbone_weights="phone.weights.h5")
        prepare_batch_norms(settings, backbone)
        return caplog.text

    return run


def test_folded_statistics(prepare):
    text = prepare(1.0, 0.5, [0.0, 0.0], [0.999, 0.999])
    assert "`backbone_weights=phone.weights.h5` are folded" in text
    assert "`freeze_batch_norm`" in text


@pytest.mark.parametrize(
    "weights",
    [
        (1.0, 0.0, [0.0, 0.0], [1.0, 1.0]),  # drawn
        (1.0, 0.5, [0.1, 0.0], [0.999, 0.999]),
        (1.0, 0.5, [0.0, 0.0], [0.5, 0.999]),
    ],
)
def test_statistics_of_a_training(prepare, weights):
    assert not prepare(*weights)


def test_frozen_statistics(prepare, backbone):
    assert not prepare(1.0, 0.5, [0.0, 0.0], [0.999, 0.999], freeze=True)
    assert keeps_statistics(backbone.get_layer("norm"))
