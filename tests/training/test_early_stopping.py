import keras
import numpy as np
import pytest

from keras_distill.training.early_stopping import EarlyStopping


class Given(keras.callbacks.Callback):
    def __init__(self, values):
        super().__init__()
        self._values = values

    def on_epoch_end(self, epoch, logs=None):
        if self._values[epoch] is not None:
            logs["recall"] = self._values[epoch]


def fit(values, **options):
    said = []
    stopping = EarlyStopping("recall", say=said.append, **options)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    history = model.fit(
        np.ones((2, 1)),
        np.ones(2),
        epochs=len(values),
        callbacks=[Given(values), stopping],
        verbose=0,
    )
    return len(history.epoch), stopping, said


@pytest.mark.parametrize(
    ("values", "options", "epochs"),
    [
        ([0.1, 0.3, 0.2, 0.3, 0.5], {"patience": 2}, 4),
        ([0.1, 0.3, 0.2, 0.31, 0.3, 0.3, 0.9], {"patience": 2}, 6),
        ([0.1, 0.3, 0.2, 0.31, 0.3, 0.3, 0.9], {"patience": 2, "min_delta": 0.05}, 4),
        ([0.3, None, None, 0.2, None, 0.2, 0.9], {"patience": 2}, 6),
        ([0.3, 0.4, 0.5], {"patience": 1}, 3),
    ],
)
def test_after_so_many_validations(values, options, epochs):
    made, stopping, said = fit(values, **options)
    assert made == epochs
    assert stopping.stopped == (epochs if epochs < len(values) else None)
    assert len(said) == (epochs < len(values))


def test_it_says_so():
    _, _, said = fit([0.3, 0.31, 0.2, 0.9], patience=2, min_delta=0.05)
    assert said == [
        "Stopping after epoch 3: recall has not risen by more than 0.05 in the last 2 validations. "
        "The best epoch, 2, is kept (0.3100)."
    ]


def test_it_goes_on_from_its_state():
    _, stopping, _ = fit([0.4, 0.3], patience=3)
    resumed = EarlyStopping("recall", patience=3)
    resumed.set_state(stopping.get_state())
    assert resumed.get_state() == stopping.get_state()
    resumed.set_model(keras.Model())
    said = []
    resumed._say = said.append
    for epoch in (2, 3):
        resumed.on_epoch_end(epoch, {"recall": 0.4})
    assert (resumed.stopped, resumed.model.stop_training) == (4, True)
    assert "epoch, 1, is kept (0.4000)" in said[0]
