import keras
import numpy as np
import pytest

from keras_distill.training.divergence_guard import DivergenceGuard, TrainingDiverged

VECTORS = np.ones((12, 2))


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-3), loss="mse")
    return model


def test_nan_loss_stops_at_its_step(model):
    class Spoil(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if self.model.optimizer.iterations == 4:
                self.model.set_weights([np.nan * weight for weight in self.model.get_weights()])

    with pytest.raises(TrainingDiverged, match=r"^loss became NaN or infinite in epoch 2, step 2"):
        model.fit(
            VECTORS,
            np.ones(12),
            batch_size=4,
            epochs=3,
            callbacks=[Spoil(), DivergenceGuard()],
            verbose=0,
        )


def test_each_broken_loss_is_named():
    with pytest.raises(TrainingDiverged, match=r"^loss, relative became NaN or infinite"):
        DivergenceGuard().on_train_batch_end(
            0, {"relative": float("inf"), "triplet": 1.0, "loss": float("nan")}
        )


def test_weights_that_the_last_step_ruined(model):
    guard = DivergenceGuard()
    guard.set_model(model)
    guard.on_epoch_begin(6)
    guard.on_epoch_end(6, {"loss": 1.0})
    model.set_weights([weight + np.inf for weight in model.get_weights()])
    with pytest.raises(TrainingDiverged, match=r"^weights became NaN or infinite in epoch 7\. Try"):
        guard.on_epoch_end(6, {"loss": 1.0})


def test_finite_training_goes_on(model):
    history = model.fit(VECTORS, np.ones(12), callbacks=[DivergenceGuard()], epochs=2, verbose=0)
    assert history.epoch == [0, 1]
    DivergenceGuard().on_train_batch_end(0, None)
