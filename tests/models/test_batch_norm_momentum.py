import keras
import numpy as np
import pytest

from keras_distill.models.batch_norm_momentum import warmed_up_momentum
from keras_distill.models.fused_batch_norm import fuse_batch_norm

BATCHES = [np.random.default_rng(step).normal(step, 2, (6, 3, 3, 2)) for step in range(5)]


def build(momentum, **arguments):
    image = keras.Input((3, 3, 2))
    norm = keras.layers.BatchNormalization(momentum=momentum, name="norm", **arguments)
    return keras.Model(image, norm(image))


def train(model, first_step=0):
    for step, batch in enumerate(BATCHES, start=first_step):
        with warmed_up_momentum(model, step):
            model(batch, training=True)
    return model.get_layer("norm")


def naive(momenta):
    mean, variance = np.zeros(2), np.ones(2)
    for momentum, batch in zip(momenta, BATCHES, strict=True):
        mean = momentum * mean + (1 - momentum) * batch.mean(axis=(0, 1, 2))
        variance = momentum * variance + (1 - momentum) * batch.var(axis=(0, 1, 2))
    return mean, variance


@pytest.mark.parametrize("kind", ["plain", "fused", "synchronised"])
@pytest.mark.parametrize(
    ("momentum", "first_step", "expected"),
    [
        (0.99, 0, [1 / 10, 2 / 11, 3 / 12, 4 / 13, 5 / 14]),
        (0.2, 0, [1 / 10, 2 / 11, 0.2, 0.2, 0.2]),
        (0.99, 889, [890 / 899, 0.99, 0.99, 0.99, 0.99]),
    ],
)
def test_a_naive_average(kind, momentum, first_step, expected):
    model = build(momentum, synchronized=kind == "synchronised")
    if kind == "fused":
        fuse_batch_norm(model)
    norm = train(model, first_step)
    mean, variance = naive(expected)
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-4)


def test_layers_are_left_as_they_were():
    model = build(0.9)
    config = model.get_config()
    train(model)
    with pytest.raises(RuntimeError), warmed_up_momentum(model, 3):
        raise RuntimeError
    assert model.get_config() == config


def test_another_replica_may_have_begun():
    model = build(0.9)
    with warmed_up_momentum(model, 0), warmed_up_momentum(model, 0):
        model(BATCHES[0], training=True)
    assert model.get_layer("norm").momentum == 0.9
    np.testing.assert_allclose(
        model.get_layer("norm").moving_mean, 0.9 * BATCHES[0].mean(axis=(0, 1, 2)), rtol=1e-4
    )


def test_frozen_layers_keep_their_statistics():
    model = build(0.9)
    model.get_layer("norm").trainable = False
    norm = train(model)
    np.testing.assert_array_equal(norm.moving_mean, np.zeros(2))


def test_under_a_dtype_policy(dtype_policy):
    for policy in ("mixed_float16", "bfloat16"):
        dtype_policy(policy)
        norm = train(build(0.99))
        np.testing.assert_allclose(
            norm.moving_mean, naive([1 / 10, 2 / 11, 3 / 12, 4 / 13, 5 / 14])[0], rtol=2e-2
        )
