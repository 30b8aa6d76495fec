from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_distill import (
    ClassPrior,
    InputError,
    PartialSelectiveLoss,
    ResumableCallbacks,
    read_class_prior,
)
from keras_distill.distribution.global_batch import gather_replicas
from keras_distill.methods.method import LossTerm, Method

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = ["cat", "dog", "fox"]
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), dtype=np.uint8)
TARGETS = np.random.default_rng(1).choice([1, 0, -1], (12, 3)).astype("int8")


class Labelling(Method):
    """Trains a network by the labels that are annotated."""

    def __init__(self, named=False):
        super().__init__(name="labelling")
        keras.utils.set_random_seed(0)
        image = keras.Input((4, 4, 3), name="image")
        x = keras.layers.Rescaling(1 / 127.5, -1)(image)
        logits = keras.layers.Dense(3)(keras.layers.Flatten()(x))
        self.network = keras.Model(image, {"logits": logits} if named else logits)
        self.term = PartialSelectiveLoss("ignore", name="labels")
        self.track_losses(["labels"])
        self.built = True

    def get_product(self):
        return self.network

    def loss_terms(self, x, y, y_pred, sample_weight, training):
        y, y_pred = gather_replicas((y, y_pred))
        if training:
            self.observe(y, y_pred)
        logits = y_pred["logits"] if isinstance(y_pred, dict) else y_pred
        return [LossTerm("labels", self.term.batch_loss(y, logits), ops.shape(logits)[0])]


def probabilities(model, images):
    outputs = model.network(images)
    logits = outputs["logits"] if isinstance(outputs, dict) else outputs
    return 1 / (1 + np.exp(-np.float64(logits)))


def test_reference():
    prior = ClassPrior(list("abcde"))
    assert np.isnan(prior.prior).all()
    with np.load(GOLDEN / "csl__compute_prior.npz") as golden:
        for batch in ("logits0", "logits1", "logits2"):
            prior.update(golden[batch])
        np.testing.assert_allclose(prior.prior, golden["prior"], rtol=1e-6)


@pytest.mark.parametrize("named", [False, True])
def test_it_observes_all_training_batches_and_no_others(named, tmp_path):
    model = Labelling(named)
    model.compile(keras.optimizers.SGD(0.0))
    prior = ClassPrior(NAMES, tmp_path / "prior.csv")
    model.fit(IMAGES, TARGETS, batch_size=5, verbose=0)  # a step that does not observe
    model.fit(
        IMAGES[:7],
        TARGETS[:7],
        validation_data=(IMAGES[7:], TARGETS[7:]),
        batch_size=5,
        epochs=2,
        callbacks=[prior],
        verbose=0,
    )
    expected = probabilities(model, IMAGES[:7]).mean(axis=0)
    np.testing.assert_allclose(prior.prior, expected, rtol=1e-5)
    np.testing.assert_array_equal(read_class_prior(tmp_path / "prior.csv", NAMES), prior.prior)
    model.fit(IMAGES, TARGETS, verbose=0)  # not observed any more
    np.testing.assert_allclose(prior.prior, expected, rtol=1e-5)


def test_it_is_the_mean_over_the_batches_as_the_network_learns():
    seen = []

    class Before(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.extend(probabilities(self.model, IMAGES))

    model, prior = Labelling(), ClassPrior(NAMES)
    model.compile(keras.optimizers.SGD(0.01))
    model.fit(*(IMAGES, TARGETS), batch_size=12, epochs=3, callbacks=[prior, Before()], verbose=0)
    np.testing.assert_allclose(prior.prior, np.mean(seen, axis=0), rtol=1e-5)
    assert np.abs(seen[0] - seen[-1]).max() > 1e-3


def test_a_training_that_was_stopped_goes_on_with_what_was_seen(tmp_path):
    def train(folder, epochs):
        model, prior = Labelling(), ClassPrior(NAMES)
        model.compile(keras.optimizers.SGD(0.01))
        callbacks = ResumableCallbacks(
            [prior], model=model, checkpoints=tmp_path / folder, epochs=epochs, steps_per_epoch=3
        )
        batches = tf.data.Dataset.from_tensor_slices((IMAGES, TARGETS)).batch(4).repeat()
        model.fit(
            batches,
            initial_epoch=callbacks.epoch,
            epochs=epochs,
            steps_per_epoch=3,
            callbacks=callbacks,
            verbose=0,
        )
        return prior.prior

    train("cut", 2)
    np.testing.assert_array_equal(train("cut", 4), train("whole", 4))


def test_rows_that_are_not_finite_count_for_nothing():
    prior = ClassPrior(NAMES)
    prior.update([[0.0, 0.0, 0.0], [np.nan, 1.0, 1.0], [np.inf, 0.0, 0.0]])
    np.testing.assert_array_equal(prior.prior, [0.5] * 3)


def test_what_cannot_be_observed():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    with pytest.raises(InputError, match=r"cannot observe the training of a Sequential; call upd"):
        model.fit(np.ones((4, 2)), np.ones((4, 3)), callbacks=[ClassPrior(NAMES)], verbose=0)
    with pytest.raises(InputError, match=r"logits have shape \(2, 2\); give \(batch, 3\)"):
        ClassPrior(NAMES).update(np.ones((2, 2)))
