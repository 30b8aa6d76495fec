import keras
import numpy as np
import pytest

from keras_distill.training.gradient_norm import GradientNorm
from keras_distill.training.rated_optimizers import RatedSGD

X = np.array([[1.0], [2.0], [3.0]], np.float32)


def fit(optimizer):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(optimizer, "mse")
    model.set_weights([np.zeros((1, 1), np.float32)])
    return model.fit(
        X,
        np.ones(3, np.float32),
        batch_size=1,
        epochs=2,
        shuffle=False,
        callbacks=[GradientNorm()],
        verbose=0,
    ).history


@pytest.mark.parametrize("scaled", [False, True])
def test_mean_and_maximum_of_an_epoch(scaled):
    optimizer = RatedSGD(0.0, measure_gradients=True, global_clipnorm=0.1)
    history = fit(keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer)
    assert history["gradient_norm"] == pytest.approx([4.0, 4.0])  # 2 x, for weights of 0
    assert history["gradient_norm_max"] == pytest.approx([6.0, 6.0])
