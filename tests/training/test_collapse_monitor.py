import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.losses.arc_face import ArcFace
from keras_distill.losses.batch_all_triplet import BatchAllTriplet
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.losses.cross_batch_memory import CrossBatchMemory
from keras_distill.losses.relative_teacher import RelativeTeacher
from keras_distill.losses.self_distillation import SelfDistillation
from keras_distill.losses.semi_hard_triplet import SemiHardTriplet
from keras_distill.losses.teacher_references import TeacherReferences
from keras_distill.methods.distiller import Distiller
from keras_distill.training.averaged_student import AveragedStudent
from keras_distill.training.collapse_monitor import (
    CollapseMonitor,
    _advice,
    _collapsed_loss,
    _margin,
)
from keras_distill.training.embedding_spread import embedding_spread
from keras_distill.training.resumable_callbacks import ResumableCallbacks

# The images of these tests are embeddings, which are not what embedders usually take.
pytestmark = pytest.mark.filterwarnings("ignore:Distiller. the images of the first batch lie")

LABELS = np.tile(np.arange(4), 4)
POINT = np.ones((16, 1)) * [1.0, 0.0, 0.0, 0.0]


def student(unit=True):
    """Hands its four input channels through, times a trained number each."""
    image = keras.Input((1, 1, 4), name="image")
    x = keras.layers.Flatten()(image)
    x = keras.layers.Rescaling(1.0)(x)
    x = keras.layers.Dense(4, kernel_initializer="identity", use_bias=False)(x)
    return keras.Model(image, keras.layers.UnitNormalization()(x) if unit else x)


def watched(images, labels):
    return tf.data.Dataset.from_tensors(({"image": images}, labels))


def fit(vectors, task_loss, epochs=3, labels=LABELS, learning_rate=0.0, unit=True, **fitting):
    """Trains on given embeddings; returns the monitor, what it said, and the history."""
    distiller = Distiller(
        student(unit), task_loss=task_loss, teacher_losses=[RelativeTeacher()] * (not task_loss)
    )
    distiller.compile(keras.optimizers.SGD(learning_rate))
    said = []
    images = np.float32(vectors).reshape(-1, 1, 1, 4)
    monitor = CollapseMonitor(
        rows=int(np.sum(labels >= 0)), say=said.append, batches=watched(images, labels)
    )
    x = images if task_loss else {"image": images, "teacher_embedding": images[:, 0, 0]}
    history = distiller.fit(
        x, labels, batch_size=len(labels), epochs=epochs, callbacks=[monitor], verbose=0, **fitting
    ).history
    return monitor, said, history


def noise(scale, centre=POINT, seed=0):
    return centre + scale * np.random.default_rng(seed).normal(size=(16, 4))


def classes(between, within):
    """Four classes around one point, so much apart, and so wide."""
    return POINT + between * np.eye(4)[LABELS] + within * noise(1.0, 0.0)


@pytest.mark.parametrize(
    "task_loss",
    [
        BatchHardTriplet(0.2),
        BatchHardTriplet("soft"),
        BatchAllTriplet(0.2),
        CrossBatchMemory(BatchHardTriplet(0.2), 16),
    ],
)
def test_collapse_is_named_once_with_advice(task_loss):
    monitor, said, history = fit(noise(1e-3), task_loss, epochs=4)
    assert monitor.collapsed
    (sentence,) = said
    assert "collapsed" in sentence
    assert "images of two classes have been as close" in sentence
    assert "a lower `learning_rate`" in sentence
    assert "`task_loss=semi_hard_triplet`" in sentence
    assert "embeddings of length 1" not in sentence
    assert monitor.note.startswith("collapsing? ")
    assert set(monitor.names) < set(history)


def test_loss_at_the_margin_is_quoted():
    # As the batch-hard loss leaves a student of random weights: at no point, but near the margin.
    _, (sentence,), history = fit(noise(0.015), BatchHardTriplet(0.2))
    assert history["triplet"][-1] == pytest.approx(0.21, abs=0.02)
    assert history["embedding_std"][-1] > 0.02
    assert f"the loss has stayed at {history['triplet'][1]:.3g}, near the 0.2 of" in sentence
    assert "`task_loss=soft_triplet`" in sentence


def test_advice_leaves_out_what_is_done_already():
    _, (sentence,), _ = fit(noise(1e-3), SemiHardTriplet(0.2))
    assert "semi_hard" not in sentence
    assert "`margin`" not in sentence
    _, (sentence,), _ = fit(noise(1e-3) * 3, BatchHardTriplet(0.0), unit=False)
    assert "a larger `margin`" in sentence
    assert "embeddings of length 1" in sentence


@pytest.mark.parametrize("task_loss", [None, ArcFace(range(4))])
def test_point_is_named_whatever_the_loss(task_loss):
    _, (sentence,), _ = fit(noise(1e-4), task_loss)
    assert "of one point" in sentence


def test_line_is_named():
    vectors = np.outer(np.linspace(-1, 1, 16), [0.0, 1.0, 1.0, 0.0]) + 3 * POINT
    _, (sentence,), history = fit(vectors, BatchHardTriplet(0.2), unit=False)
    assert "on one line (effective rank 1.0" in sentence
    assert history["effective_rank"][-1] < 1.2


def test_one_suspect_epoch_is_no_collapse():
    monitor, said, _ = fit(noise(1e-3), BatchHardTriplet(0.2), epochs=1)
    assert monitor.note
    assert not monitor.collapsed
    assert said == []


def test_loss_at_the_margin_while_classes_part_is_no_collapse():
    # Batch-hard training on real photographs hovers here for many epochs, and learns.
    monitor, said, history = fit(classes(0.05, 0.02), BatchHardTriplet(0.2))
    assert history["triplet"][-1] == pytest.approx(0.2, rel=0.1)
    assert history["negative_distance"][-1] > 1.1 * history["positive_distance"][-1]
    assert said == []
    assert monitor.note == ""
    assert not monitor.collapsed


@pytest.mark.quick(2)
@pytest.mark.parametrize("margin", [0.0, 0.2, "soft"])
@pytest.mark.parametrize(
    "vectors", [classes(1.0, 0.1), noise(1.0, 0.0), classes(0.004, 0.001)], ids=str
)
def test_spread_or_learning_students_are_left_alone(vectors, margin):
    assert fit(vectors, BatchHardTriplet(margin))[1] == []


def test_two_classes_that_part_lie_on_a_line_rightly():
    labels = np.arange(16) % 2
    vectors = np.eye(4)[labels] + 1e-3 * noise(1.0, 0.0)
    _, said, history = fit(vectors, BatchHardTriplet(0.2), labels=labels)
    assert history["effective_rank"][-1] < 1.5
    assert said == []


def test_recovery_starts_the_count_anew():
    distiller = Distiller(student(), task_loss=BatchHardTriplet(0.2))
    distiller.compile(keras.optimizers.SGD(0.0))
    said = []
    monitor = CollapseMonitor(16, said.append)
    bad, good = (np.float32(v).reshape(-1, 1, 1, 4) for v in (noise(1e-3), classes(1.0, 0.1)))
    steps = iter([bad, good, bad, good])
    batches = ((batch, LABELS) for batch in steps)
    distiller.fit(batches, epochs=4, steps_per_epoch=1, callbacks=[monitor], verbose=0)
    assert said == []
    assert not monitor.collapsed


class Killed(Exception):
    pass


class KilledAfter(keras.callbacks.Callback):
    """Ends the training as a kill would, after some steps of this process."""

    def __init__(self, steps):
        super().__init__()
        self._left = steps

    def on_train_batch_begin(self, batch, logs=None):
        if not self._left:
            raise Killed
        self._left -= 1


@pytest.mark.parametrize("killed_after", [2, 3])  # at the end of a suspect epoch, and in the next
def test_a_training_that_is_resumed_knows_what_it_has_seen(tmp_path, killed_after):
    vectors = np.float32(noise(1e-3)).reshape(2, 8, 1, 1, 4)

    def train(folder, *others):
        distiller = Distiller(student(), task_loss=BatchHardTriplet(0.2))
        distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        said = []
        monitor = CollapseMonitor(16, said.append)  # the rows of both steps of an epoch
        callbacks = ResumableCallbacks(
            [monitor, *others],
            model=distiller,
            checkpoints=folder,
            epochs=2,
            steps_per_epoch=2,
            every_steps=1,
        )
        history = distiller.fit(
            ((vectors[step % 2], LABELS[:8]) for step in range(callbacks.step, 4)),
            initial_epoch=callbacks.epoch,
            epochs=2,
            steps_per_epoch=2,
            callbacks=callbacks,
            verbose=0,
        ).history
        seen = {name: history[name][-1] for name in CollapseMonitor.names if name in history}
        return said, seen, history

    expected_said, expected, through = train(tmp_path / "through")
    (sentence,) = expected_said
    assert "for 2 epochs" in sentence
    with pytest.raises(Killed):
        train(tmp_path / "killed", KilledAfter(killed_after))
    said, last, history = train(tmp_path / "killed")
    assert said == expected_said
    assert last == expected
    assert history["effective_rank"] == through["effective_rank"][-1:]


def test_a_collapse_is_named_once_in_all_processes_together(tmp_path):
    monitor, said, _ = fit(noise(1e-3), BatchHardTriplet(0.2))
    assert len(said) == 1
    resumed, again = CollapseMonitor(16), []
    resumed._say = again.append
    resumed.set_model(monitor.model)
    resumed.set_state(monitor.get_state())
    resumed.on_epoch_end(3, {"triplet": 0.2})
    assert resumed.note
    assert (resumed.collapsed, again) == (True, [])


def test_values_are_those_of_the_last_rows_and_labels_of_unlabelled_ones_are_left_out():
    labels = np.where(np.arange(16) < 12, LABELS, -1)
    vectors = noise(0.5)
    _, _, history = fit(vectors, BatchHardTriplet(0.3), labels=labels, shuffle=False)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = embedding_spread(unit[:12], labels[:12], 0.3)
    for name, value in expected.items():
        assert history[name] == pytest.approx([value] * 3, rel=1e-4)


def test_a_traced_model_is_watched_too_and_let_go_afterwards():
    distiller = Distiller(student(), task_loss=BatchHardTriplet(0.2))
    distiller.compile(keras.optimizers.SGD(0.0))
    images = np.float32(noise(0.5)).reshape(-1, 1, 1, 4)
    weights = len(distiller.weights)
    assert "effective_rank" not in distiller.fit(images, LABELS, verbose=0).history
    watched = distiller.fit(images, LABELS, verbose=0, callbacks=[CollapseMonitor(8)]).history
    assert watched["effective_rank"][0] > 1
    assert "effective_rank" not in distiller.fit(images, LABELS, verbose=0).history
    assert len(distiller.weights) == weights


def fit_unlabelled(vectors, labels, epochs=3):
    distiller = Distiller(student(), teacher_losses=[RelativeTeacher()])
    distiller.compile(keras.optimizers.SGD(0.0))
    images = np.float32(vectors).reshape(-1, 1, 1, 4)
    x, said = {"image": images, "teacher_embedding": images[:, 0, 0]}, []
    monitor = CollapseMonitor(16, said.append)
    history = distiller.fit(x, labels, epochs=epochs, verbose=0, callbacks=[monitor]).history
    return monitor, said, history


@pytest.mark.slow
@pytest.mark.parametrize("labels", [np.full(16, -1), None])
def test_images_without_labels_collapse_to_a_point(labels):
    monitor, (sentence,), history = fit_unlabelled(noise(1e-4), labels)
    assert "for 2 epochs all embeddings lie within" in sentence
    assert "two classes" not in sentence
    assert monitor.cause == "embeddings"
    assert history["embedding_std"][-1] < 1e-3
    assert history.keys() == {"loss", "relative", "embedding_std", "effective_rank"}
    line = np.outer(np.linspace(-1, 1, 16), [0.0, 1.0, 1.0, 0.0]) + 3 * POINT
    for vectors in (noise(0.5), line):  # maybe of two classes, which part on a line
        monitor, said, _ = fit_unlabelled(vectors, labels)
        assert (said, monitor.note) == ([], "")


def test_the_last_unlabelled_embeddings_are_resumed():
    monitor, said, _ = fit_unlabelled(noise(1e-4), None, epochs=1)
    assert said == []
    state = monitor.get_state()
    resumed, again = CollapseMonitor(16), []
    resumed._say = again.append
    resumed.set_model(monitor.model)
    resumed.set_state({name: state[name] for name in state if "unlabelled" not in name})
    resumed.on_epoch_end(1, {})  # of an earlier version, and without a step since
    assert again == []
    resumed.set_state(state)
    resumed.on_epoch_end(1, {})
    assert len(again) == 1


class Statistics(keras.callbacks.Callback):
    """Plants moving variances at the ends of epochs: large ones hide what an image shows."""

    def __init__(self, *variances):
        super().__init__()
        self._variances = variances

    def on_epoch_end(self, epoch, logs=None):
        self.model.student.get_layer("norm").moving_variance.assign([self._variances[epoch]] * 4)


def fit_normalised(*variances, use_ema=False):
    image = keras.Input((1, 1, 4), name="image")
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Flatten()(image))
    x = keras.layers.Dense(4, bias_initializer="ones")(x)
    distiller = Distiller(
        keras.Model(image, keras.layers.UnitNormalization()(x)), task_loss=BatchHardTriplet(0.2)
    )
    distiller.compile(keras.optimizers.SGD(0.0, use_ema=use_ema, ema_momentum=0.5))
    images, said = np.float32(classes(1.0, 0.1)).reshape(-1, 1, 1, 4), []
    averaged = AveragedStudent(distiller, distiller.student, [images]) if use_ema else None
    monitor = CollapseMonitor(16, said.append, batches=watched(images, LABELS), student=averaged)
    history = distiller.fit(
        images,
        LABELS,
        batch_size=16,
        epochs=len(variances),
        callbacks=[Statistics(*variances), monitor],
        verbose=0,
    ).history
    return monitor, said, history


def test_lagging_statistics_are_told_from_a_collapse():
    monitor, (sentence,), history = fit_normalised(1.0, 1e12, 1e12, 1e12)
    assert monitor.collapsed
    assert monitor.cause == "batch_norm_statistics"
    assert sentence.startswith("In inference mode the student embeds all images alike (standard")
    assert "moving statistics of its batch normalisations do not fit its weights" in sentence
    assert history["inference_std"][0] > 0.1
    assert max(history["inference_std"][1:]) < 1e-3 < 0.1 < min(history["embedding_std"])
    assert monitor.note.startswith("collapsing? ")


def test_statistics_that_lag_at_the_end_are_named_at_once():
    monitor, said, _ = fit_normalised(1.0, 1e12)
    assert monitor.cause == "batch_norm_statistics"
    assert len(said) == 1


def test_statistics_that_have_caught_up_are_forgiven():
    monitor, said, _ = fit_normalised(1e12, 1e12, 1.0)
    assert len(said) == 1
    assert not monitor.collapsed
    assert (monitor.cause, monitor.note) == ("", "")
    assert fit_normalised(1e12, 1.0)[1] == []


def test_the_student_of_averaged_weights_is_what_is_watched():
    monitor, said, history = fit_normalised(1.0, 1e12, 1e12, use_ema=True)
    assert said == []  # its statistics are estimated again
    assert not monitor.collapsed
    assert min(history["inference_std"]) > 0.1


def test_collapsed_embeddings_are_no_lag():
    monitor, (sentence,), _ = fit(noise(1e-4), BatchHardTriplet(0.2))
    assert monitor.cause == "embeddings"
    assert "inference" not in sentence


@pytest.mark.parametrize("wrapper", [SelfDistillation, TeacherReferences])
def test_a_loss_within_another(wrapper):
    loss = wrapper(BatchHardTriplet(0.35))
    assert _margin(loss) == 0.35
    assert _advice(loss, 1.0) == _advice(BatchHardTriplet(0.35), 1.0)
    assert _collapsed_loss(loss, LABELS, 1.0) is None  # depends on heads, or on a teacher
