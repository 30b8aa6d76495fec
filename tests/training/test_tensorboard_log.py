from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from keras_distill.training.tensorboard_log import TensorBoardLog

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 6, 3), dtype=np.uint8)


class Report(keras.callbacks.Callback):
    """Makes a record of an epoch, as `EpochReport` does."""

    def on_epoch_end(self, epoch, logs=None):
        self.record = {
            "epoch": epoch + 1,
            "step": 3 * (epoch + 1),
            "loss": float(epoch),
            "val_recall@1": 0.5,
            "gradient_norm": 2.0,
            "learning_rate_critic": 0.1,
        }


def fit(folder, epochs=(0, 4), **options):
    report = Report()
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="head")])
    model.compile("sgd", "mse")
    model.fit(
        np.ones((6, 2)),
        np.ones(6),
        batch_size=2,
        initial_epoch=epochs[0],
        epochs=epochs[1],
        callbacks=[report, TensorBoardLog(folder, report, steps_per_epoch=3, **options)],
        verbose=0,
    )
    return EventAccumulator(str(folder), {"tensors": 0}).Reload()


def test_records_by_step(tmp_path):
    events = fit(tmp_path)
    assert set(events.Tags()["tensors"]) == {
        "loss/loss",
        "recall/val_recall@1",
        "optimizer/gradient_norm",
        "optimizer/learning_rate_critic",
    }
    points = events.Tensors("loss/loss")
    assert [point.step for point in points] == [3, 6, 9, 12]
    values = [float(tf.make_ndarray(point.tensor_proto)) for point in points]
    assert values == [0, 1, 2, 3]


def test_points_within_epochs_and_histograms(tmp_path):
    events = fit(tmp_path, every_steps=5, histogram_epochs=2)
    assert [point.step for point in events.Tensors("within_epoch/loss")] == [5, 10]
    (bias,) = (tag for tag in events.Tags()["tensors"] if tag.endswith("head/bias"))
    assert bias.startswith("weights/")
    points = events.Tensors(bias)
    assert [point.step for point in points] == [6, 12]
    assert tf.make_ndarray(points[0].tensor_proto)[:, 2].sum() == pytest.approx(1)


def test_images(tmp_path):
    events = fit(tmp_path, images={"student": IMAGES[:2], "teacher": IMAGES})
    (point,) = events.Tensors("batch/teacher")
    width, height, *images = tf.make_ndarray(point.tensor_proto)
    assert (point.step, int(width), int(height)) == (0, 6, 8)
    np.testing.assert_array_equal([tf.image.decode_png(png) for png in images], IMAGES)


def test_a_training_that_goes_on_shows_each_step_once(tmp_path):
    fit(tmp_path, (0, 4), every_steps=1, images={"student": IMAGES})
    # Files are read in the order of their names, which begin with the second.
    (first,) = tmp_path.glob("events.out.tfevents.*")
    first.rename(first.with_name("events.out.tfevents.0000000001.first.v2"))
    events = fit(tmp_path, (2, 4), every_steps=1, first_step=6, images={"student": IMAGES})
    assert [point.step for point in events.Tensors("within_epoch/loss")] == [*range(1, 13)]
    assert [point.step for point in events.Tensors("loss/loss")] == [3, 6, 9, 12]
    assert len(events.Tensors("batch/student")) == 1


def test_a_training_that_begins_again_shows_its_images_once(tmp_path):
    fit(tmp_path, (0, 1), images={"student": IMAGES})  # killed before its first checkpoint
    events = fit(tmp_path, (0, 2), images={"student": IMAGES})
    assert len(events.Tensors("batch/student")) == 1
    assert [point.step for point in events.Tensors("loss/loss")] == [3, 6]


def test_nothing_is_read_between_the_points(tmp_path):
    class Value:
        def __float__(self):
            raise AssertionError("read")

    log = TensorBoardLog(tmp_path, SimpleNamespace(), steps_per_epoch=10, every_steps=4)
    for batch in (0, 1, 2):
        log.on_train_batch_end(batch, {"loss": Value()})
