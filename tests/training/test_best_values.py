import keras
import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.training.best_epoch import BestEpoch
from keras_distill.training.best_values import best_value
from keras_distill.training.resumable_callbacks import ResumableCallbacks
from keras_distill.training.training_variables import name_of


class Recorder(keras.callbacks.Callback):
    """Gives each epoch a value, and notes the weights and their averages at its end."""

    def __init__(self, values):
        super().__init__()
        self.values = values
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        logs["score"] = self.values[epoch]
        optimizer = self.model.optimizer
        averages = optimizer._model_variables_moving_average if optimizer.use_ema else None
        kept = self.model.weights[0] if averages is None else averages[0]
        self.seen.append(np.array(kept))


@pytest.mark.parametrize("ema", [False, True])
@pytest.mark.parametrize(("values", "epoch"), [([1, 3, 2], 1), (None, 2)])
def test_the_value_at_the_epoch_of_the_product(tmp_path, ema, values, epoch):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1, use_ema=ema, ema_momentum=0.5), "mse")
    assert best_value(model, model.weights[0], tmp_path) is None
    best = None if values is None else BestEpoch("score")
    recorder = Recorder(values or [0, 0, 0])
    callbacks = ResumableCallbacks(
        [recorder, *([best] if best else [])],
        model=model,
        checkpoints=tmp_path,
        epochs=3,
        steps_per_epoch=1,
        best=best,
    )
    model.fit(np.ones((4, 2)), np.ones(4), epochs=3, callbacks=callbacks, verbose=0)
    found = best_value(model, model.weights[0], tmp_path)
    np.testing.assert_array_equal(found, recorder.seen[epoch])
    with pytest.raises(InputError, match="is not one of"):
        name_of(model, keras.Variable(1.0))
