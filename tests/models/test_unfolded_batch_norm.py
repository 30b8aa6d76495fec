import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.models.frozen_batch_norm import batch_norms, has_folded_batch_norm
from keras_distill.models.fused_batch_norm import fuse_batch_norm
from keras_distill.models.unfolded_batch_norm import unfold_batch_norm

RNG = np.random.default_rng(0)
IMAGES = np.float32(RNG.normal(1, 2, (48, 8, 8, 3)))
BATCHES = np.split(IMAGES, 3)


@pytest.fixture
def folded():
    """Two convolutions whose normalisations add a bias, the second within another model."""
    maps, image = keras.Input((6, 6, 4)), keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization(name="second")(keras.layers.Conv2D(5, 3)(maps))
    inner = keras.Model(maps, x, name="inner")
    x = keras.layers.BatchNormalization(name="first")(keras.layers.Conv2D(4, 3)(image))
    model = keras.Model(image, inner(keras.layers.ReLU()(x)))
    for norm in batch_norms(model):
        width = norm.gamma.shape[0]
        bias = RNG.normal(0, 1, width)
        norm.set_weights([np.ones(width), bias, np.zeros(width), np.full(width, 0.999)])
    assert has_folded_batch_norm(model)
    return model


@pytest.mark.parametrize("fused", [False, True])
def test_inference_stays_the_same_and_training_comes_close(folded, fused):
    if fused:
        fuse_batch_norm(folded)
    expected, weights = folded(IMAGES).numpy(), folded.get_weights()
    assert np.abs(folded(IMAGES, training=True) - expected).mean() > 0.1
    folded.set_weights(weights)  # training mode has moved the statistics
    unfold_batch_norm(folded, BATCHES)
    assert not has_folded_batch_norm(folded)
    np.testing.assert_allclose(folded(IMAGES), expected, atol=1e-5)
    # All images are one batch, so its statistics are those of the layers.
    np.testing.assert_allclose(folded(IMAGES, training=True), expected, atol=1e-4)


def test_statistics_are_those_of_the_inputs(folded):
    norms = {norm.name: norm for norm in batch_norms(folded)}
    convolved = folded.layers[1](IMAGES).numpy()
    activated = np.maximum(folded.layers[2](convolved), 0)
    expected = {"first": convolved, "second": folded.get_layer("inner").layers[1](activated)}
    expected = {name: np.float64(inputs) for name, inputs in expected.items()}
    unfold_batch_norm(folded, BATCHES)
    for name, inputs in expected.items():
        mean, variance = inputs.mean((0, 1, 2)), inputs.var((0, 1, 2))
        np.testing.assert_allclose(norms[name].moving_mean, mean, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(norms[name].moving_variance, variance, rtol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_precisions(policy):
    norm = keras.layers.BatchNormalization(dtype=policy)
    model = keras.Sequential([keras.Input((8, 8, 3)), norm])
    expected = model(IMAGES).numpy()
    unfold_batch_norm(model, BATCHES)
    assert norm.gamma.dtype == "float32"
    np.testing.assert_allclose(model(IMAGES), expected, atol=0.1)
    np.testing.assert_allclose(norm.moving_mean, IMAGES.mean((0, 1, 2)), atol=0.05)


def test_channels_that_are_constant_or_come_first():
    norm = keras.layers.BatchNormalization(axis=1)
    model = keras.Sequential([keras.Input((3, 8, 8)), norm])
    images = np.moveaxis(IMAGES, -1, 1).copy()
    images[:, 0] = 7
    expected = model(images).numpy()
    unfold_batch_norm(model, [images])
    np.testing.assert_allclose(model(images), expected, atol=1e-4)
    np.testing.assert_allclose(norm.moving_mean, images.mean((0, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance[0], 0, atol=1e-4)
    assert np.isfinite(model(images, training=True)).all()


def test_under_a_strategy(folded):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        copy = keras.models.clone_model(folded)
    copy.set_weights(folded.get_weights())
    unfold_batch_norm(folded, BATCHES)
    unfold_batch_norm(copy, BATCHES)
    for found, expected in zip(copy.get_weights(), folded.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_calls_are_put_back_after_an_error(folded):
    with pytest.raises(InputError, match="`batches`: there is none"):
        unfold_batch_norm(folded, [])
    with pytest.raises(ValueError, match="incompatible"):
        unfold_batch_norm(folded, [IMAGES[..., :2]])
    assert all("call" not in vars(norm) for norm in batch_norms(folded))
    assert has_folded_batch_norm(folded)


def test_a_model_without_batch_normalisation():
    model = keras.Sequential([keras.Input((2,)), keras.layers.ReLU()])
    with pytest.raises(InputError, match="there is no batch normalisation in"):
        unfold_batch_norm(model, [np.ones((4, 2))])


def test_a_layer_without_gamma():
    norm = keras.layers.BatchNormalization(scale=False, name="plain")
    with pytest.raises(InputError, match="'plain' has no gamma or no beta"):
        unfold_batch_norm(keras.Sequential([keras.Input((2,)), norm]), [np.ones((4, 2))])
