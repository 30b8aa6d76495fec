import numpy as np
import pytest

from keras_distill import InputError, drop_annotations, keep_annotations_per_class
from keras_distill.data import partial_annotations


def targets(images=200, classes=7, seed=0):
    random = np.random.default_rng(seed)
    shares = np.linspace(0, 0.6, classes)
    found = (random.random((images, classes)) < shares).astype(np.int8)
    found[random.random(found.shape) < 0.1] = -1
    return found


SIMULATIONS = {
    "per class": lambda values, seed: keep_annotations_per_class(values, 20, seed),
    "dropped": lambda values, seed: drop_annotations(values, 0.5, seed),
}


@pytest.mark.parametrize("simulate", SIMULATIONS.values(), ids=SIMULATIONS)
def test_annotations_are_only_forgotten(simulate):
    before = targets()
    copy = before.copy()
    after = simulate(before, 3)
    np.testing.assert_array_equal(before, copy)
    assert after.dtype == np.int8
    assert ((after == before) | (after == -1)).all()
    assert ((after == -1) & (before != -1)).any()
    np.testing.assert_array_equal(simulate(before, 3), after)
    assert (simulate(before, 4) != after).any()


def test_up_to_a_number_of_each_class_and_value_is_kept():
    before = targets()
    after = keep_annotations_per_class(before, 20, seed=0)
    for value in (0, 1):
        count = (before == value).sum(axis=0)
        assert (count < 20).any() or value == 0
        assert (count > 20).any()
        np.testing.assert_array_equal((after == value).sum(axis=0), np.minimum(count, 20))
    np.testing.assert_array_equal(keep_annotations_per_class(before, 200, seed=0), before)
    assert (keep_annotations_per_class(before, 0, seed=0) == -1).all()


def test_what_is_kept_is_drawn_evenly():
    kept = sum(
        keep_annotations_per_class(np.ones((40, 1), np.int8), 10, seed)[:, 0] == 1
        for seed in range(400)
    )
    assert abs(kept / 400 - 0.25).max() < 0.1


def test_a_class_is_drawn_from_whatever_the_others_are():
    before = targets()
    other = np.concatenate([before[:, :3], before[:, :1]], axis=1)
    after = keep_annotations_per_class(before, 5, seed=1)
    np.testing.assert_array_equal(keep_annotations_per_class(other, 5, seed=1)[:, :3], after[:, :3])
    equal = np.ones((50, 2), np.int8)
    kept = keep_annotations_per_class(equal, 5, seed=1)
    assert (kept[:, 0] != kept[:, 1]).any()


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.5, 1.0])
def test_the_share_that_is_dropped(probability):
    before = np.resize(np.int8([1, 0]), (500, 40))
    after = drop_annotations(before, probability, seed=0)
    for value in (0, 1):
        dropped = (after[before == value] == -1).mean()
        assert dropped == pytest.approx(probability, abs=0.02)


def test_large_arrays_are_drawn_from_in_blocks(monkeypatch):
    before = targets()
    whole = drop_annotations(before, 0.5, seed=0)
    monkeypatch.setattr(partial_annotations, "_BLOCK", 50)
    np.testing.assert_array_equal(drop_annotations(before, 0.5, seed=0), whole)


@pytest.mark.parametrize(
    "bad",
    [np.zeros((2, 2)), np.zeros(3, np.int8), np.int8([[2]]), np.int8([[-2]])],
    ids=["floats", "flat", "2", "-2"],
)
@pytest.mark.parametrize("simulate", SIMULATIONS.values(), ids=SIMULATIONS)
def test_other_targets_are_refused(simulate, bad):
    with pytest.raises(InputError, match=r"`targets` must be int8 \(images, classes\) of 1, 0 and"):
        simulate(bad, 0)


def test_numbers_out_of_range():
    with pytest.raises(InputError, match="`count=-1` must be 0 or more"):
        keep_annotations_per_class(targets(), -1, 0)
    with pytest.raises(InputError, match=r"`probability=1\.5` must be from 0 to 1"):
        drop_annotations(targets(), 1.5, 0)


def test_nothing_to_draw_from():
    for shape in ((0, 3), (3, 0)):
        empty = np.zeros(shape, np.int8)
        assert keep_annotations_per_class(empty, 1, 0).shape == shape
        assert drop_annotations(empty, 0.5, 0).shape == shape
