import keras
import numpy as np
import pytest

from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.training.averaged_student import AveragedStudent
from keras_distill.training.distiller import Distiller
from keras_distill.training.rated_optimizers import RatedAdam

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (16, 8, 8, 3), dtype=np.uint8), np.arange(16) // 2


class Weights(keras.callbacks.Callback):
    def __init__(self, student):
        super().__init__()
        self._student = student
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append([weight.numpy() for weight in self._student.trainable_weights])


@pytest.fixture
def trained(small_embedder):
    student = small_embedder(image_size=8)
    distiller = Distiller(student, task_loss=BatchHardTriplet(0.5))
    distiller.compile(RatedAdam(0.01, use_ema=True, ema_momentum=0.6))
    weights = Weights(student)
    averaged = AveragedStudent(distiller, student, [IMAGES[:8], IMAGES[4:]])

    def fit(epochs):
        distiller.fit(IMAGES, LABELS, batch_size=8, epochs=epochs, callbacks=[weights], verbose=0)
        return weights.seen

    return student, averaged, fit


def test_a_naive_average(trained):
    student, averaged, fit = trained
    average, *later = fit(4)
    for weights in later:
        average = [0.6 * a + 0.4 * w for a, w in zip(average, weights, strict=True)]
    training = [weight.numpy() for weight in student.non_trainable_weights]
    averaged.refresh()
    for weight, expected in zip(averaged.student.trainable_weights, average, strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-6)
    for weight, expected in zip(student.non_trainable_weights, training, strict=True):
        np.testing.assert_array_equal(weight, expected)
    rescaling, convolution, norm = averaged.student.layers[1:4]
    inputs = [convolution(rescaling(batch)).numpy() for batch in (IMAGES[:8], IMAGES[4:])]
    expected = np.mean([np.mean(x, axis=(0, 1, 2)) for x in inputs], axis=0)
    np.testing.assert_allclose(norm.moving_mean, expected, rtol=1e-4)
    expected = np.mean([np.var(x, axis=(0, 1, 2)) for x in inputs], axis=0)
    np.testing.assert_allclose(norm.moving_variance, expected, rtol=1e-4)


def test_the_copy_is_of_the_present_step(trained, tmp_path):
    student, averaged, fit = trained
    averaged.refresh()
    for ours, theirs in zip(
        averaged.student.trainable_weights, student.trainable_weights, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    for step in (1, 2):
        fit(1)
        averaged.save(tmp_path / f"{step}.keras")
    first, second = (keras.models.load_model(tmp_path / f"{step}.keras") for step in (1, 2))
    assert not np.array_equal(first(IMAGES), second(IMAGES))
    np.testing.assert_allclose(second(IMAGES), averaged.student(IMAGES), atol=1e-6)


def test_frozen_layers_are_frozen_in_the_copy(trained):
    student, averaged, fit = trained
    fit(1)
    student.layers[3].trainable = False
    averaged.refresh()
    assert not averaged.student.layers[3].trainable
    np.testing.assert_array_equal(
        averaged.student.layers[3].moving_mean, student.layers[3].moving_mean
    )


def test_an_optimizer_without_averages(small_embedder):
    distiller = Distiller(small_embedder(image_size=8), task_loss=BatchHardTriplet())
    distiller.compile("adam")
    with pytest.raises(ValueError, match=r"keeps no averages; make it with use_ema=True"):
        AveragedStudent(distiller, distiller.student, [])
