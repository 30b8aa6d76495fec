"""Callbacks of a method with two optimizers."""

import io
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from keras_distill.methods.method import LossTerm, Method
from keras_distill.runs.directory import RunDirectory
from keras_distill.training.averaged_student import AveragedStudent
from keras_distill.training.epoch_report import EpochReport
from keras_distill.training.gradient_norm import GradientNorm
from keras_distill.training.layerwise_optimizers import LayerwiseSGD

X = np.linspace(-1, 1, 6, dtype=np.float32)[:, None]


class Pair(Method):
    """A network `w x`, and a bias that another optimizer trains; both in the product or not."""

    def __init__(self, shared=True):
        super().__init__()
        scalar = keras.Input((1,))
        self.slope = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        self.critic = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        product = self.slope(scalar)
        self.critic.build((None, 1))
        self.product = keras.Model(scalar, self.critic(product) if shared else product)
        self.shared = shared
        self.track_losses(["squares"])
        self.built = True

    def compile(self, optimizer, critic_optimizer, **kwargs):
        super().compile(optimizer, **kwargs)
        self.critic_optimizer = critic_optimizer

    def get_product(self):
        return self.product

    @property
    def optimizers(self):
        return {"": self.optimizer, "critic": self.critic_optimizer}

    def variables_of(self, optimizer):
        return (self.critic if optimizer else self.slope).trainable_variables

    def loss_terms(self, x, y, y_pred, sample_weight, training):
        answer = y_pred if self.shared else self.critic(y_pred)
        return [LossTerm("squares", tf.reduce_mean((answer - 1) ** 2), rows=tf.shape(answer)[0])]

    def train_step(self, data):
        x, y, _ = self.prepare(data, training=True)
        for name in self.optimizers:
            variables = self.variables_of(name)
            with tf.GradientTape() as tape:
                loss = self.compute_loss(x, y, self(x, training=True))
            gradients = tape.gradient(loss, [variable.value for variable in variables])
            self.optimizers[name].apply(gradients, variables)
        return self.get_metrics_result()


class Weights(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append([float(v.numpy().item()) for v in self.model.trainable_variables])


def fit(model, *callbacks):
    weights = Weights()
    history = model.fit(
        X + 2, X, batch_size=3, epochs=1, shuffle=False, callbacks=[*callbacks, weights], verbose=0
    ).history
    return history, np.array(weights.seen)


def test_norms_and_learning_rates_of_each(tmp_path):
    model = Pair()
    rates = {"": 0.01, "critic": 0.03}
    optimizers = [LayerwiseSGD(rate, measure_gradients=True) for rate in rates.values()]
    model.compile(*optimizers, run_eagerly=True)
    console = Console(file=io.StringIO(), width=300)
    options = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 3, "hidden": GradientNorm.names}
    report = EpochReport(RunDirectory(tmp_path), console, **options)
    history, weights = fit(model, GradientNorm(), report)
    record = json.loads((tmp_path / "metrics.jsonl").read_text())
    before = np.array([[0.0, 1.0], *weights])
    for place, (name, rate) in enumerate(rates.items()):
        norms = np.abs(np.diff(before[:, place])) / rate
        ending = f"_{name}" if name else ""
        assert record[f"learning_rate{ending}"] == pytest.approx(rate)
        assert history[f"gradient_norm{ending}"] == [pytest.approx(norms.mean(), rel=1e-3)]
        assert record[f"gradient_norm_max{ending}"] == pytest.approx(norms.max(), rel=1e-3)
    assert "gradient_norm" not in console.file.getvalue()


def test_an_optimizer_that_measures_nothing_has_no_norm():
    model = Pair()
    model.compile(LayerwiseSGD(0.01, measure_gradients=True), keras.optimizers.SGD(0.01))
    model.run_eagerly = True
    history, _ = fit(model, GradientNorm())
    assert {name for name in history if "norm" in name} == set(GradientNorm.names)
    model.compile(keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.01), run_eagerly=True)
    with pytest.raises(ValueError, match="no optimizer measures its gradients"):
        fit(model, GradientNorm())


def test_averages_of_all_optimizers_of_the_student():
    model = Pair()
    momenta = [0.5, 0.75]
    optimizers = [keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=m) for m in momenta]
    model.compile(*optimizers, run_eagerly=True)
    averaged = AveragedStudent(model, model.product, [])

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            averaged.refresh()
            seen.append([float(v.numpy().item()) for v in averaged.student.weights])

    seen = []
    _, weights = fit(model, Look())
    expected = weights[:1].repeat(2, axis=0)
    expected[1] = momenta * weights[0] + (1 - np.array(momenta)) * weights[1]
    np.testing.assert_allclose(seen[1], expected[1], rtol=1e-5)


def test_only_the_optimizers_of_the_student_must_average():
    averaging, plain = keras.optimizers.SGD(0.05, use_ema=True), keras.optimizers.SGD(0.05)
    apart, shared = Pair(shared=False), Pair()
    apart.compile(averaging, plain)
    AveragedStudent(apart, apart.product, [])
    shared.compile(keras.optimizers.SGD(0.05, use_ema=True), keras.optimizers.SGD(0.05))
    with pytest.raises(ValueError, match="keeps no averages"):
        AveragedStudent(shared, shared.product, [])
