import keras
import numpy as np
import pytest

from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.methods.distiller import Distiller
from keras_distill.training.averaged_student import AveragedStudent
from keras_distill.training.layerwise_optimizers import LayerwiseAdam

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
    distiller.compile(LayerwiseAdam(0.01, use_ema=True, ema_momentum=0.6))
    weights = Weights(student)
    averaged = AveragedStudent(distiller, student, [IMAGES[:8], IMAGES[4:]])

    def fit(epochs):
        distiller.fit(IMAGES, LABELS, batch_size=8, epochs=epochs, callbacks=[weights], verbose=0)
        return weights.seen

    return student, averaged, fit


class Looks(keras.callbacks.Callback):
    """Keeps what the averaged student and the student are within a training.

    After it, Keras has put the averages in place of the weights, and the two are the same.
    """

    def __init__(self, averaged, student):
        super().__init__()
        self._averaged, self._student = averaged, student
        self.before, self.after, self.averages = [], [], []

    def on_epoch_end(self, epoch, logs=None):
        self.before.append(self._student.get_weights())
        self._averaged.refresh()
        self.after.append(self._student.get_weights())
        self.averages.append(self._averaged.student.get_weights())


def test_a_naive_average(small_embedder):
    student = small_embedder(image_size=8)
    distiller = Distiller(student, task_loss=BatchHardTriplet(0.5))
    distiller.compile(LayerwiseAdam(0.01, use_ema=True, ema_momentum=0.6))
    batches = [IMAGES[:8], IMAGES[4:]]
    averaged = AveragedStudent(distiller, student, batches)
    steps, looks = Weights(student), Looks(averaged, student)
    distiller.fit(IMAGES, LABELS, batch_size=8, epochs=3, callbacks=[steps, looks], verbose=0)
    independent = small_embedder(image_size=8)
    average = steps.seen[0]
    for step, weights in enumerate(steps.seen):
        average = [0.6 * a + 0.4 * w for a, w in zip(average, weights, strict=True)]
        if step % 2 == 0:  # an epoch has two steps
            continue
        epoch = step // 2
        for before, after in zip(looks.before[epoch], looks.after[epoch], strict=True):
            np.testing.assert_array_equal(after, before)
        averages = {
            id(weight): value
            for weight, value in zip(student.weights, looks.averages[epoch], strict=True)
        }
        found = [averages[id(weight)] for weight in student.trainable_weights]
        for ours, expected, present in zip(found, average, weights, strict=True):
            np.testing.assert_allclose(ours, expected, atol=1e-6)
            assert np.abs(present - expected).max() > 1e-3
        for weight, value in zip(independent.trainable_weights, average, strict=True):
            weight.assign(value)
        norm = student.layers[3]
        statistics = [averages[id(v)] for v in (norm.moving_mean, norm.moving_variance)]
        for ours, expected in zip(statistics, moments(independent, batches), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-4)


def moments(model, batches):
    """Mean over batches of the mean and of the variance of what reaches batch normalisation."""
    rescaling, convolution = model.layers[1:3]
    inputs = [np.float64(convolution(rescaling(batch))) for batch in batches]
    return [np.mean([f(x, axis=(0, 1, 2)) for x in inputs], axis=0) for f in (np.mean, np.var)]


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
    with pytest.raises(ValueError, match=r"keeps no averages; make it with `use_ema=True"):
        AveragedStudent(distiller, distiller.student, [])
