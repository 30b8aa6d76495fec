import os
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_distill.embedding.chain_model import ChainModel
from keras_distill.ledger.cost import index_cost, machine, model_cost
from keras_distill.retrieval.scann_search import ScannSearcher, ScannSettings
from keras_distill.teachers.mirror_averaged_teacher import mirror_averaged_teacher
from keras_distill.teachers.teacher import Teacher


class Counting(ChainModel):
    """A model that notes what it is asked."""

    def __init__(self, path):
        self.name, self.path, self.image_size, self.parameters = "student", path, 4, 7
        self.asked = []
        self.from_jpeg = lambda data: self.answer("jpeg", data)
        self.from_pixels = lambda images: self.answer("pixels", images)
        self.timed_in = "Keras"

    def answer(self, kind, batch):
        self.asked.append((kind, tuple(batch.shape), batch.dtype))
        return tf.zeros([len(batch), 2])


def test_single_images_are_timed_apart_from_batches(tmp_path):
    (tmp_path / "student.keras").write_bytes(bytes(3_000_000))
    model = Counting(tmp_path)
    cost = model_cost(model, [b"one", b"two", b"three"], batch_size=5)
    assert (cost["megabytes"], cost["parameters"]) == (3, 7)
    for name in ("milliseconds", "milliseconds_from_jpeg"):
        low, high = cost[f"{name}_quartiles"]
        assert 0 < low <= cost[name] <= high
    assert cost["images_per_second"] > 0
    assert (cost["timed_in"], cost["runtime_milliseconds"]) == ("Keras", None)
    kinds = {kind: model.asked.count(kind) for kind in dict.fromkeys(model.asked)}
    batch = ("jpeg", (5,), tf.string)
    single, pixels = ("jpeg", (1,), tf.string), ("pixels", (1, 4, 4, 3), tf.uint8)
    assert set(kinds) == {batch, single, pixels}
    assert min(kinds[single], kinds[pixels]) > kinds[batch]
    assert model.asked == sorted(model.asked, key=list(kinds).index)  # each by itself


def test_own_runtime_is_timed_by_threads_and_nothing_between(tmp_path):
    """What a file takes is the time in its runtime, as that is also told by threads.

    Calls of TensorFlow in between would make it many times as long.
    """
    model = Counting(tmp_path)

    def runtime(threads):
        def run(pixels):
            model.asked.append((threads, pixels.shape, pixels.dtype))

        return run

    model.runtime, model.timed_in = runtime, "LiteRT"
    cost = model_cost(model, [b""], batch_size=1)
    times = cost["runtime_milliseconds"]
    threads = sorted({1, os.cpu_count()})
    assert list(times) == [str(count) for count in threads]
    assert cost["milliseconds"] == times[str(threads[-1])]
    assert cost["timed_in"] == "LiteRT"
    kinds = list(dict.fromkeys(model.asked))
    own = [(count, (1, 4, 4, 3), np.dtype(np.float32)) for count in threads]
    assert kinds == [*own, ("jpeg", (1,), tf.string)]
    assert model.asked == sorted(model.asked, key=kinds.index)


def test_mirror_averaging_costs_both_views(tmp_path):
    def runtime(threads):
        def run(pixels):
            time.sleep(0.005)
            return np.ones((len(pixels), 2), np.float32)

        return run

    teacher = Teacher(lambda x: tf.ones([len(x), 2]), image_size=4, runtime=runtime)
    single, double = (
        model_cost(ChainOf(each, tmp_path), [b""], batch_size=1)["milliseconds"]
        for each in (teacher, mirror_averaged_teacher(teacher))
    )
    assert single >= 5
    assert double >= 10


class ChainOf(ChainModel):
    """A model that is timed in its own runtime alone."""

    def __init__(self, teacher, path):
        self.name, self.path, self.image_size = "student", path, teacher.image_size
        self.runtime, self.timed_in = teacher.runtime, "LiteRT"


def test_models_that_read_no_pixels_have_no_time(tmp_path):
    table = ChainModel()
    table.name, table.path = "teacher", Path(tmp_path)
    cost = model_cost(table, [b""], batch_size=2)
    assert cost.pop("megabytes") == 0
    assert set(cost.values()) == {None}


def test_index_weighs_vectors_and_tree(clustered_rows):
    exact = ScannSearcher(clustered_rows)
    tree = ScannSearcher(clustered_rows, ScannSettings(20, 4))
    costs = [index_cost(searcher, clustered_rows, k=3) for searcher in (exact, tree)]
    vectors = clustered_rows.nbytes / 1e6
    assert vectors <= costs[0]["megabytes"] < costs[1]["megabytes"] < 2 * vectors
    assert all(c["queries_per_second"] > 0 < c["exact_queries_per_second"] for c in costs)


@pytest.fixture(scope="module")
def clustered_rows(labelled):
    return np.array(labelled(0.3, classes=400, each=5, dim=64)[0])


def test_machine_describes_processor_and_versions():
    described = machine()
    assert described["cpus"] >= 1
    assert described["tensorflow"] == tf.__version__
    assert "CPU" in described["devices"]
