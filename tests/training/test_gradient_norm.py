import keras
import numpy as np
import pytest

from keras_distill.training.gradient_norm import GradientNorm
from keras_distill.training.layerwise_optimizers import LayerwiseSGD

X = np.array([1.0, 2.0, 3.0], np.float32)
RATE, EPOCHS, CLIP = 0.03, 3, 1.5


def fit(optimizer):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(optimizer, "mse")
    model.set_weights([np.zeros((1, 1), np.float32)])
    return model.fit(
        X[:, None],
        np.ones(3, np.float32),
        batch_size=1,
        epochs=EPOCHS,
        shuffle=False,
        callbacks=[GradientNorm()],
        verbose=0,
    ).history


def norms_by_hand():
    """Norms of the gradients of `(w x - 1)^2` before clipping, for each epoch and step."""
    weight, norms = 0.0, []
    for x in [*X] * EPOCHS:
        gradient = 2 * x * (weight * x - 1)
        norms.append(abs(gradient))
        weight -= RATE * np.clip(gradient, -CLIP, CLIP)
    return np.reshape(norms, (EPOCHS, -1))


@pytest.mark.parametrize("scaled", [False, True])
def test_mean_and_maximum_of_each_epoch_before_clipping(scaled):
    optimizer = LayerwiseSGD(RATE, measure_gradients=True, global_clipnorm=CLIP)
    history = fit(keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer)
    norms = norms_by_hand()
    mean, greatest = norms.mean(axis=1), norms.max(axis=1)
    assert np.all(np.diff(greatest) < 0), "an epoch would show what is left of those before"
    assert greatest[0] > CLIP > mean[-1]
    assert history["gradient_norm"] == pytest.approx(mean, rel=1e-4)
    assert history["gradient_norm_max"] == pytest.approx(greatest, rel=1e-4)
