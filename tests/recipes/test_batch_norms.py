from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.models.frozen_batch_norm import keeps_statistics
from keras_distill.recipes.batch_norms import freeze_batch_norms, unfold_batch_norms

INPUTS = np.float32([[1.0, 2.0], [3.0, 6.0]])


@pytest.fixture
def backbone():
    norm = keras.layers.BatchNormalization(name="norm")
    return keras.Sequential([keras.Input((2,)), norm])


@pytest.fixture
def unfold(backbone):
    def run(beta, mean, variance, freeze=False):
        norm = backbone.get_layer("norm")
        norm.set_weights([np.ones(2), np.full(2, beta), np.array(mean), np.array(variance)])
        settings = SimpleNamespace(freeze_batch_norm=freeze, backbone_weights="phone.weights.h5")
        lines = []
        freeze_batch_norms(settings, backbone)
        unfold_batch_norms(settings, backbone, [INPUTS], lines.append)
        return lines

    return run


def test_folded_statistics(unfold, backbone):
    (line,) = unfold(0.5, [0.0, 0.0], [0.999, 0.999])
    assert "have the statistics of training images now" in line
    assert "`freeze_batch_norm`" in line
    np.testing.assert_allclose(backbone.get_layer("norm").moving_mean, [2.0, 4.0])
    np.testing.assert_allclose(backbone(INPUTS), INPUTS + 0.5, atol=1e-5)


@pytest.mark.parametrize(
    "weights",
    [
        (0.0, [0.0, 0.0], [1.0, 1.0]),  # drawn
        (0.5, [0.1, 0.0], [0.999, 0.999]),
        (0.5, [0.0, 0.0], [0.5, 0.999]),
    ],
)
def test_statistics_of_a_training(unfold, backbone, weights):
    assert not unfold(*weights)
    np.testing.assert_allclose(backbone.get_layer("norm").moving_mean, weights[1])


def test_a_layer_without_gamma_is_refused_with_a_remedy():
    norm = keras.layers.BatchNormalization(scale=False)
    backbone = keras.Sequential([keras.Input((2,)), norm])
    norm.set_weights([np.ones(2), np.zeros(2), np.full(2, 0.999)])
    settings = SimpleNamespace(freeze_batch_norm=False, backbone_weights="phone.weights.h5")
    said = "^`backbone_weights=phone.weights.h5`: .* no gamma .* with `freeze_batch_norm`"
    with pytest.raises(InputError, match=said):
        unfold_batch_norms(settings, backbone, [INPUTS], print)


def test_frozen_statistics(unfold, backbone):
    assert not unfold(0.5, [0.0, 0.0], [0.999, 0.999], freeze=True)
    assert keeps_statistics(backbone.get_layer("norm"))
    np.testing.assert_array_equal(backbone.get_layer("norm").moving_mean, [0.0, 0.0])
