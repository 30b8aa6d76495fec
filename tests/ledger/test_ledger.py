import dataclasses

import numpy as np
import pytest

from keras_distill import InputError
from keras_distill.ledger.ledger import Ledger, changes
from keras_distill.ledger.stage import index_stage
from keras_distill.retrieval.scann_search import ScannSearcher, ScannSettings


@pytest.fixture(scope="module")
def stages(stage):
    size = {"classes": 200, "each": 5}
    made = [stage(noise, name, **size) for noise, name in ((0.6, "teacher"), (0.9, "student"))]
    made.append(stage(0.9, "export", **size))

    def starved(gallery):
        return ScannSearcher(gallery, ScannSettings(40, 1, reorder=1, reorder_factor=1))

    return [*made, index_stage("index", made[-1], starved, ks=(1, 2, 4))]


def test_stages_add_up_to_the_total(stages):
    ledger = Ledger(stages)
    assert set(ledger.total) == {"R@1", "R@2", "R@4", "MAP@R", "R-precision"}
    for name, total in ledger.total.items():
        parts = [change[name].value for change in ledger.changes[1:]]
        assert sum(parts) == pytest.approx(total.value)
        assert total.value == pytest.approx(
            stages[-1].metrics.means[name] - stages[0].metrics.means[name]
        )
        assert total.value < 0


def test_loss_is_at_its_stage_and_beyond_noise_there_only(stages):
    first, student, export, index = Ledger(stages).changes
    assert first is None
    assert student["R@1"].value < -0.05
    for over, (low, high) in student["R@1"].intervals.items():
        assert student["R@1"].beyond_noise(over)
        assert low < student["R@1"].value < high < 0
        assert not export["R@1"].beyond_noise(over)
        assert index["R@1"].beyond_noise(over)
    assert export["R@1"].value == 0
    assert export["R@1"].intervals == {"queries": (0, 0), "classes": (0, 0)}
    assert index["R@1"].value < -0.05


def test_intervals_are_of_paired_queries(stages):
    """What all queries lose alike is certain, however far apart the queries are."""
    before, after = stages[0].metrics, stages[1].metrics
    random = np.random.default_rng(0)
    difference = after.per_query["MAP@R"] - before.per_query["MAP@R"]
    rows = random.integers(len(difference), size=(4000, len(difference)))
    low, high = np.quantile(difference[rows].mean(axis=1), [0.025, 0.975])
    change = changes(before, after)["MAP@R"]
    assert change.intervals["queries"] == pytest.approx((low, high), abs=0.004)
    shifted = before.per_query | {"MAP@R": before.per_query["MAP@R"] - 0.1}
    sure = changes(before, dataclasses.replace(before, per_query=shifted))["MAP@R"]
    for bounds in sure.intervals.values():
        assert bounds == pytest.approx((-0.1, -0.1))


def test_branches_are_compared_with_the_stage_they_were_made_from(stages):
    """A branch that loses nothing is not charged what the one before it lost."""
    teacher, student, _, index = stages
    same = dataclasses.replace(student, name="student.onnx")
    worse = dataclasses.replace(index, name="student.tflite")
    ledger = Ledger([teacher, student, index], [(1, worse), (1, same)])
    assert [stage.name for stage in ledger.stages][3:] == ["student.tflite", "student.onnx"]
    assert ledger.before == [None, 0, 1, 1, 1]
    assert ledger.changes[3]["R@1"].value < -0.05
    assert ledger.changes[4]["R@1"].value == 0
    chain = Ledger([teacher, student, index])
    assert ledger.total["R@1"] == chain.total["R@1"]
    assert ledger.pairs == [(0, 1), (1, 2), (1, 3), (1, 4), (0, 2)]


def test_intervals_over_classes_of_a_change_that_is_of_one_class(stages):
    """Each query of the class is sure to lose; whether such a class is among them is not."""
    before = stages[0].metrics
    lost = np.where(before.labels == 3, 1.0, 0.0)
    shifted = {"R@1": before.per_query["R@1"] - lost}
    change = changes(before, dataclasses.replace(before, per_query=before.per_query | shifted))
    queries, classes = (change["R@1"].intervals[over] for over in ("queries", "classes"))
    assert change["R@1"].beyond_noise("queries")
    assert not change["R@1"].beyond_noise("classes")
    assert classes[0] < queries[0]


def test_pairs(stages):
    assert Ledger(stages).pairs == [(0, 1), (1, 2), (2, 3), (0, 3)]
    assert Ledger(stages[:2]).pairs == [(0, 1)]
    assert Ledger(stages[:1]).pairs == []


def test_stages_of_other_images_are_refused(stages, stage):
    with pytest.raises(InputError, match="teacher and other measure different images"):
        Ledger([stages[0], stage(1.0, "other")])
    with pytest.raises(InputError, match="at least one stage"):
        Ledger([])
