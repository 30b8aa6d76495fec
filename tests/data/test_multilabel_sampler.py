import numpy as np
import pytest
import tensorflow as tf

from keras_distill import InputError
from keras_distill.data.multilabel_sampler import MultiLabelSampler

RNG = np.random.default_rng(0)
TARGETS = np.where(RNG.random((60, 6)) < np.array([0.5, 0.3, 0.2, 0.1, 0.05, 0]), 1, -1)
TARGETS[:2, 4] = 1  # few, and never none


def cycles(sampler, count):
    """The rows and views of some cycles, of a sampler whose batches divide them."""
    steps = sampler.cycle_length * count // sampler.batch_size
    drawn = [sampler.rows(step) for step in range(steps)]
    rows, views = (
        np.concatenate([each.numpy() for each in column]) for column in zip(*drawn, strict=True)
    )
    return rows.reshape(count, -1), views.reshape(count, -1)


@pytest.mark.parametrize("least", [0, 1, 7, 20])
def test_a_cycle_visits_each_image_and_has_enough_positives_of_each_label(least):
    sampler = MultiLabelSampler(TARGETS, batch_size=1, least_positives=least, seed=3)
    assert sampler.visits.min() == 1
    rows, _ = cycles(sampler, 2)
    for cycle in rows:
        np.testing.assert_array_equal(np.bincount(cycle, minlength=60), sampler.visits)
        positives = (TARGETS[cycle] == 1).sum(axis=0)
        assert (positives[:5] >= least).all()
        assert positives[5] == 0
    assert rows[0].tolist() != rows[1].tolist()


def test_images_are_visited_again_only_as_often_as_a_label_needs_it():
    assert MultiLabelSampler(TARGETS, batch_size=4).visits.tolist() == [1] * 60
    sampler = MultiLabelSampler(TARGETS, batch_size=4, least_positives=7)
    positive = TARGETS == 1
    for row, visits in enumerate(sampler.visits):
        needs = [-(-7 // positive[:, label].sum()) for label in np.flatnonzero(positive[row])]
        assert visits <= max([1, *needs])
    assert (sampler.visits[~positive[:, 3:].any(axis=1)] == 1).all()  # of frequent labels only


@pytest.mark.slow
def test_no_image_shows_a_view_twice():
    sampler = MultiLabelSampler(TARGETS, batch_size=1, least_positives=20)
    rows, views = cycles(sampler, 4)
    assert len(set(zip(rows.ravel().tolist(), views.ravel().tolist(), strict=True))) == rows.size
    assert views.min() == 0


@pytest.mark.slow
def test_batches_are_a_function_of_seed_and_step():
    def make(seed=5):
        return MultiLabelSampler(TARGETS, batch_size=7, least_positives=5, seed=seed)

    sampler = make()
    drawn = [sampler.rows(step) for step in range(30)]
    for step in (29, 0, 13):
        for again, first in zip(make().rows(step), drawn[step], strict=True):
            np.testing.assert_array_equal(again, first)
    in_graph = tf.data.Dataset.range(30).map(sampler.rows)
    for found, first in zip(in_graph.as_numpy_iterator(), drawn, strict=True):
        np.testing.assert_array_equal(found, [each.numpy() for each in first])
    assert make(6).rows(0)[0].numpy().tolist() != drawn[0][0].numpy().tolist()
    assert drawn[0][0].dtype == drawn[0][1].dtype == tf.int64
    # Batches that reach over the end of cycles are the same endless sequence, cut elsewhere.
    single = MultiLabelSampler(TARGETS, batch_size=1, least_positives=5, seed=5)
    rows = np.concatenate([each[0].numpy() for each in drawn])
    np.testing.assert_array_equal(
        rows, [single.rows(step)[0].numpy()[0] for step in range(len(rows))]
    )


def test_a_batch_may_be_larger_than_a_cycle():
    sampler = MultiLabelSampler(np.ones((3, 1)), batch_size=8)
    rows, views = sampler.rows(0)
    assert sorted(rows.numpy()[:3].tolist()) == sorted(rows.numpy()[3:6].tolist()) == [0, 1, 2]
    assert views.numpy().tolist() == [0, 0, 0, 1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("targets", "options", "name"),
    [
        (np.zeros((0, 3)), {"batch_size": 2}, "targets"),
        (np.zeros(3), {"batch_size": 2}, "targets"),
        (TARGETS, {"batch_size": 0}, "batch_size"),
        (TARGETS, {"batch_size": 2, "least_positives": -1}, "least_positives"),
    ],
)
def test_what_cannot_be_sampled(targets, options, name):
    with pytest.raises(InputError, match=f"`{name}"):
        MultiLabelSampler(targets, **options)
