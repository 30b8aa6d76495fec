import keras
import numpy as np
import pytest
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from keras_distill.training import profiling
from keras_distill.training.profiling import Profiling


class Profiler:
    """Notes between which steps it runs."""

    def __init__(self):
        self.calls = []

    def start(self, folder):
        self.calls.append("start")

    def stop(self):
        self.calls.append("stop")


def walk(callback, profiler, *, epochs=range(3), batches=range(4)):
    for epoch in epochs:
        callback.on_epoch_begin(epoch)
        for batch in batches:
            callback.on_train_batch_begin(batch)
            profiler.calls.append(4 * epoch + batch + 1)
            callback.on_train_batch_end(batch)
    callback.on_train_end()
    return profiler.calls


@pytest.fixture
def profiler(monkeypatch):
    profiler = Profiler()
    monkeypatch.setattr(profiling.tf.profiler, "experimental", profiler)
    return profiler


@pytest.mark.parametrize(
    ("steps", "first", "after"), [(range(3, 7), 3, 6), (range(5, 6), 5, 5), (range(12, 14), 12, 12)]
)
def test_the_steps_that_are_named(profiler, steps, first, after):
    calls = walk(Profiling("folder", steps, 4), profiler)
    assert calls.index("start") == first - 1
    assert calls.index("stop") == after + 1
    assert (calls.count("start"), calls.count("stop")) == (1, 1)


def test_a_training_that_goes_on_within_and_after_them(profiler):
    assert walk(Profiling("folder", range(3, 7), 4), profiler, epochs=[1])[:1] == ["start"]
    profiler.calls.clear()
    assert "start" not in walk(Profiling("folder", range(3, 7), 4), profiler, epochs=[2])


def test_a_profile_is_written(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    callbacks = [Profiling(tmp_path, range(2, 4), 4)]
    model.fit(np.ones((8, 2)), np.ones(8), batch_size=2, callbacks=callbacks, verbose=0)
    (file,) = (tmp_path / "plugins" / "profile").rglob("*.xplane.pb")
    space = xplane_pb2.XSpace.FromString(file.read_bytes())
    seen = {event.name for plane in space.planes for event in plane.event_metadata.values()}
    assert any("SGD" in name or "sgd" in name or "MatMul" in name for name in seen), seen
