import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill import (
    AdaptiveAsymmetry,
    AsymmetricLoss,
    ConfidenceGap,
    InputError,
    ResumableCallbacks,
)

IMAGES = np.float32(np.random.default_rng(0).normal(size=(64, 6)))
TARGETS = (IMAGES @ np.random.default_rng(1).normal(size=(6, 8)) > 3.5).astype("int8")


def compiled(loss, **others):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8)])
    model.compile(keras.optimizers.Adam(0.02), loss=loss, metrics=[ConfidenceGap()], **others)
    return model


@pytest.mark.slow
def test_it_brings_the_gap_to_its_target():
    gaps = {}
    for target in (-0.2, 0.1):
        loss = AsymmetricLoss(0, 2, clip=0)
        adaptive = AdaptiveAsymmetry(loss, target=target, rate=2.0)
        model = compiled(loss)
        history = model.fit(
            IMAGES, TARGETS, batch_size=16, epochs=60, callbacks=[adaptive], verbose=0
        ).history
        gaps[target] = history["confidence_gap"][-1]
        for gamma, following, gap in zip(
            [2.0, *history["gamma_negative"]],
            history["gamma_negative"],
            history["confidence_gap"],
            strict=False,
        ):
            grown = np.clip(gamma + 2.0 * (target - gap), 0, 8)
            assert following == pytest.approx(grown, abs=1e-5)
    assert gaps == pytest.approx({-0.2: -0.2, 0.1: 0.1}, abs=0.05)


def test_a_step_that_was_traced_before_follows():
    loss = AsymmetricLoss(gamma_negative=2)
    model = compiled(loss)
    model.fit(IMAGES, TARGETS, verbose=0)
    before = model.evaluate(IMAGES, TARGETS, verbose=0)[0]
    model.fit(IMAGES, TARGETS, verbose=0, callbacks=[AdaptiveAsymmetry(loss, target=0.9, rate=4.0)])
    loss.gamma_negative.assign(2.0)
    reference = float(AsymmetricLoss(gamma_negative=2)(TARGETS, model(IMAGES)))
    after = model.evaluate(IMAGES, TARGETS, batch_size=64, verbose=0)[0]
    assert after == pytest.approx(reference, rel=1e-4)
    assert before != after


def test_a_training_that_was_stopped_resumes_with_the_exponent(tmp_path):
    def train(folder, epochs):
        loss = AsymmetricLoss()
        model = compiled(loss)
        callbacks = ResumableCallbacks(
            [AdaptiveAsymmetry(loss)],
            model=model,
            checkpoints=tmp_path / folder,
            epochs=epochs,
            steps_per_epoch=4,
        )
        batches = tf.data.Dataset.from_tensor_slices((IMAGES, TARGETS)).batch(16).repeat()
        model.fit(
            batches,
            initial_epoch=callbacks.epoch,
            epochs=epochs,
            steps_per_epoch=4,
            callbacks=callbacks,
            verbose=0,
        )
        return [float(loss.gamma_negative.numpy()), *model.get_weights()]

    train("cut", 2)
    for found, expected in zip(train("cut", 5), train("whole", 5), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_logs_need_the_gap():
    loss = AsymmetricLoss()
    model = compiled(loss)
    adaptive = AdaptiveAsymmetry(loss, monitor="val_confidence_gap")
    with pytest.raises(InputError, match=r"`monitor='val_confidence_gap'` is not in the logs; c"):
        model.fit(IMAGES, TARGETS, callbacks=[adaptive], verbose=0)


@pytest.mark.parametrize("bad", [{"target": 1.0}, {"rate": 0}, {"maximum": -1}])
def test_bad_arguments(bad):
    with pytest.raises(InputError, match="must be between -1 and 1"):
        AdaptiveAsymmetry(AsymmetricLoss(), **bad)
    with pytest.raises(InputError, match="`loss` is a MeanSquaredError, but only AsymmetricLoss"):
        AdaptiveAsymmetry(keras.losses.MeanSquaredError())
