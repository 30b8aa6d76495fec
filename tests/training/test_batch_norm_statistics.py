import keras
import numpy as np
import pytest

from keras_distill.models.frozen_batch_norm import freeze_batch_norm
from keras_distill.models.fused_batch_norm import fuse_batch_norm
from keras_distill.training.batch_norm_statistics import BatchNormStatistics

BATCHES = [np.random.default_rng(seed).normal(seed, 2, (5, 4, 4, 3)) for seed in range(3)]


def build():
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 3))
    x = keras.layers.BatchNormalization(name="first", momentum=0.9)(image)
    x = keras.layers.Conv2D(2, 3, activation="relu")(x)
    x = keras.layers.Dropout(0.5)(x)
    return keras.Model(image, keras.layers.BatchNormalization(name="second")(x))


@pytest.mark.parametrize("fused", [True, False])
def test_the_plain_mean_over_batches(fused):
    model = build()
    if fused:
        fuse_batch_norm(model)
    former = model.get_layer("first").get_config()
    BatchNormStatistics(model).estimate(BATCHES)
    first = model.get_layer("first")
    for variable, statistic in ((first.moving_mean, np.mean), (first.moving_variance, np.var)):
        expected = np.mean([statistic(batch, axis=(0, 1, 2)) for batch in BATCHES], axis=0)
        np.testing.assert_allclose(variable, expected, rtol=1e-5)
    assert first.get_config() == former


def test_inner_layers_see_what_they_see_in_training():
    model = build()
    model.layers[3].rate = 0.0
    BatchNormStatistics(model).estimate(BATCHES)
    first, convolution, second = (model.layers[place] for place in (1, 2, 4))
    inputs = [convolution(first(batch, training=True)).numpy() for batch in BATCHES]
    for variable, statistic in ((second.moving_mean, np.mean), (second.moving_variance, np.var)):
        expected = np.mean([statistic(batch, axis=(0, 1, 2)) for batch in inputs], axis=0)
        np.testing.assert_allclose(variable, expected, rtol=1e-4)


def test_frozen_layers_and_weights_stay():
    model = build()
    model.get_layer("first").trainable = False
    weights = [weight.numpy() for weight in model.weights]
    statistics = BatchNormStatistics(model)
    statistics.estimate(BATCHES)
    second = {id(v) for v in model.get_layer("second").non_trainable_variables}
    for weight, before in zip(model.weights, weights, strict=True):
        assert np.array_equal(weight, before) == (id(weight) not in second)
    model.get_layer("first").trainable = True
    statistics.estimate(BATCHES)
    assert model.get_layer("first").moving_mean.numpy() == pytest.approx(1.0, abs=0.5)


def test_nothing_to_estimate_from():
    model = build()
    BatchNormStatistics(model).estimate([])
    assert model.get_layer("first").moving_mean.numpy() == pytest.approx(0.0)
    image = keras.Input((2,))
    BatchNormStatistics(keras.Model(image, keras.layers.Dense(1)(image))).estimate(BATCHES)


def test_a_model_whose_statistics_are_frozen_is_not_run():
    def batches():
        raise AssertionError("they were read")
        yield

    model = build()
    freeze_batch_norm(model)
    before = model.get_weights()
    BatchNormStatistics(model).estimate(batches())
    for weight, former in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, former)
