"""Methods of a few lines, trained by `fit`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_distill.distribution.global_batch import gather_replicas
from keras_distill.errors import InputError
from keras_distill.methods.loss_scaling import CountingLossScale
from keras_distill.methods.method import LossTerm, Method

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3
SCORES = np.linspace(-1, 1, 12, dtype=np.float32)


@keras.saving.register_keras_serializable("test_method")
class Supervised(Method):
    """Named losses on the named outputs of a model, each with its targets."""

    def __init__(self, network, losses, weights=None, name="supervised", **kwargs):
        super().__init__(name=name, **kwargs)
        self.network = network
        self.output_losses = dict(losses)
        self.weights_of = {**dict.fromkeys(losses, 1.0), **(weights or {})}
        self.track_losses(losses)
        self.built = True

    def get_product(self):
        return self.network

    def loss_terms(self, x, y, y_pred, sample_weight, training):
        y, y_pred, sample_weight = gather_replicas((y, y_pred, sample_weight))
        if training:
            self.observe(y, y_pred)
        return [
            LossTerm(
                name,
                loss(y[name], y_pred[name], sample_weight),
                rows=ops.shape(y_pred[name])[0],
                weight=self.weights_of[name],
            )
            for name, loss in self.output_losses.items()
        ]

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            "network": serialize(self.network),
            "losses": {name: serialize(loss) for name, loss in self.output_losses.items()},
            "weights": dict(self.weights_of),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        restore = keras.saving.deserialize_keras_object
        losses = {name: restore(loss) for name, loss in config["losses"].items()}
        return cls(**{**config, "network": restore(config["network"]), "losses": losses})


LOSSES = {
    "labels": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "score": keras.losses.MeanSquaredError(),
}
WEIGHTS = {"labels": 0.5, "score": 2.0}
TARGETS = {"labels": LABELS, "score": SCORES[:, None]}


def network():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    x = keras.layers.Conv2D(4, 3, kernel_regularizer=keras.regularizers.L2(0.1))(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = {
        "labels": keras.layers.Dense(3, dtype="float32", name="labels")(x),
        "score": keras.layers.Dense(1, dtype="float32", name="score")(x),
    }
    return keras.Model(image, outputs)


def supervised(optimizer="sgd"):
    model = Supervised(network(), LOSSES, WEIGHTS)
    model.compile(optimizer)
    return model


def by_hand(product, rows=slice(None), training=False, sample_weight=None):
    outputs = product(IMAGES[rows], training=training)
    values = {
        name: loss(TARGETS[name][rows], outputs[name], sample_weight)
        for name, loss in LOSSES.items()
    }
    penalty = 0.1 * ops.sum(ops.square(product.layers[2].kernel))
    total = sum(WEIGHTS[name] * value for name, value in values.items()) + penalty
    return values | {"loss": total}


@pytest.mark.parametrize("kind", ["arrays", "dicts"])
def test_fit(kind):
    model = supervised(keras.optimizers.Adam(0.01))
    before = model.network.get_weights()
    batches = tf.data.Dataset.from_tensor_slices((IMAGES, TARGETS)).batch(6)
    if kind == "dicts":
        batches = batches.map(lambda images, targets: ({"image": images}, targets))
    history = model.fit(batches, epochs=4, verbose=0).history
    assert sorted(history) == ["labels", "loss", "score"]
    assert history["loss"][-1] < history["loss"][0]
    after = model.network.get_weights()
    assert all(np.any(a != b) for a, b in zip(after, before, strict=True))


def test_a_step_is_that_of_a_gradient_tape():
    model, product = supervised(keras.optimizers.SGD(0.1)), network()
    product.layers[3].momentum = 0.1  # that of the first step
    logs = model.train_on_batch(IMAGES, TARGETS, return_dict=True)
    with tf.GradientTape() as tape:
        values = by_hand(product, training=True)
    gradients = tape.gradient(values["loss"], product.trainable_variables)
    keras.optimizers.SGD(0.1).apply(gradients, product.trainable_variables)
    for weight, other in zip(model.get_weights(), product.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-4, atol=1e-6)
    for name, value in values.items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-5)


def test_evaluate_reports_means_over_rows_and_changes_nothing():
    model = supervised()
    before = model.get_weights()
    logs = model.evaluate(IMAGES, TARGETS, batch_size=8, verbose=0, return_dict=True)
    first, last = by_hand(model.network, slice(8)), by_hand(model.network, slice(8, 12))
    for name, value in logs.items():
        np.testing.assert_allclose(value, (8 * first[name] + 4 * last[name]) / 12, rtol=1e-5)
    for weight, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_sample_weights():
    weight = np.linspace(0, 2, 12, dtype=np.float32)
    logs = supervised().test_on_batch(IMAGES, TARGETS, weight, return_dict=True)
    for name, value in by_hand(network(), sample_weight=weight).items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-5)


def test_the_observer_sees_training_steps_alone():
    model, seen = supervised(), []
    model.compile("sgd", run_eagerly=True)
    model.observer = lambda labels, outputs: seen.append((labels, outputs))
    model.test_on_batch(IMAGES, TARGETS)
    assert not seen
    model.train_on_batch(IMAGES, TARGETS)
    ((labels, outputs),) = seen
    np.testing.assert_array_equal(labels["labels"], LABELS)
    assert outputs["score"].shape == (12, 1)


def test_float16_is_scaled_and_counted(dtype_policy):
    dtype_policy("mixed_float16")
    model = supervised()
    assert isinstance(model.optimizer, CountingLossScale)
    history = model.fit(IMAGES, TARGETS, verbose=0).history
    assert np.isfinite(history["loss"]).all()


@pytest.mark.slow
def test_saving_and_exporting(tmp_path):
    model = supervised(keras.optimizers.SGD(0.1, momentum=0.9))
    model.fit(IMAGES, TARGETS, batch_size=6, shuffle=False, verbose=0)
    model.save(tmp_path / "method.keras")
    loaded = keras.models.load_model(tmp_path / "method.keras")
    for each in (model, loaded):
        each.fit(IMAGES, TARGETS, batch_size=6, shuffle=False, verbose=0)
    for weight, other in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)
    model.export(tmp_path / "exported", verbose=False)
    signature = tf.saved_model.load(tmp_path / "exported").signatures["serving_default"]
    assert signature(tf.constant(IMAGES, tf.float32)).keys() == {"labels", "score"}


def test_predict_is_that_of_the_product():
    model = supervised()
    outputs, expected = model.predict(IMAGES, verbose=0), model.network(IMAGES)
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("names", [["a", "a"], ["loss"]])
def test_names_must_be_told_apart(names):
    with pytest.raises(InputError, match=r"^Method: the losses are named \['.*; give each a name"):
        Method().track_losses(names)


def test_compile_takes_no_loss():
    with pytest.raises(InputError, match=r"^Supervised.compile\(loss='mse'\) would not be used; c"):
        supervised().compile("sgd", "mse")
    with pytest.raises(InputError, match=r"give the weights to its constructor\.$"):
        supervised().compile("sgd", loss_weights=[1])


def test_batches_without_rows_are_refused():
    model = supervised()
    model.compile("sgd", run_eagerly=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a training batch has no"):
        model.train_on_batch(IMAGES[:0], {name: t[:0] for name, t in TARGETS.items()})


@pytest.mark.parametrize("missing", ["get_product", "loss_terms"])
def test_what_a_subclass_must_implement(missing):
    arguments = {"get_product": (), "loss_terms": ({}, None, None, None, True)}[missing]
    with pytest.raises(NotImplementedError, match=rf"Method must implement {missing}\(\)"):
        getattr(Method(), missing)(*arguments)
