import numpy as np
import pytest
import tensorflow as tf

from keras_distill import InputError
from keras_distill.data.class_sampler import ClassSampler
from keras_distill.data.random_order import uniform


def make_sampler(classes, per_batch, per_class=1, images=1, seed=0):
    return ClassSampler(
        np.repeat(np.arange(classes), images),
        classes_per_batch=per_batch,
        images_per_class=per_class,
        seed=seed,
    )


def draw(function, steps):
    dataset = tf.data.Dataset.range(steps).map(function, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(steps).get_single_element().numpy()


def assert_uniform(counts):
    """Chi-square with a bound that a fair draw passes by five standard deviations."""
    counts = np.asarray(counts, np.float64)
    expected = counts.mean()
    assert expected >= 5
    freedom = counts.size - 1
    chi_square = np.sum((counts - expected) ** 2) / expected
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom)


# Multiples of P and others, fewer than 2 P classes, exactly P.
SHAPES = [(2, 2), (3, 2), (5, 5), (5, 4), (9, 5), (15, 8), (16, 8), (17, 8), (50, 8), (1003, 128)]


@pytest.mark.parametrize(("classes", "per_batch"), SHAPES)
def test_every_class_once_before_any_repeats_and_never_twice_in_a_batch(classes, per_batch):
    sampler = make_sampler(classes, per_batch, seed=classes)
    cycles = 3 if classes > 100 else per_batch + 2
    batches = draw(sampler.classes, -(-cycles * classes // per_batch))
    in_order = np.sort(batches, axis=1)
    assert (np.diff(in_order, axis=1) > 0).all()
    sequence = batches.reshape(-1)[: cycles * classes].reshape(cycles, classes)
    np.testing.assert_array_equal(np.sort(sequence, axis=1), np.tile(range(classes), (cycles, 1)))
    if classes > 8:
        assert len(np.unique(sequence, axis=0)) == cycles  # each cycle in another order


def test_far_along_the_sequence_the_promises_still_hold():
    sampler = make_sampler(7, 3)
    start = 7 * 10**11  # 3 cycles of 7 classes are 7 batches
    batches = np.stack([sampler.classes(start + step).numpy() for step in range(7)])
    np.testing.assert_array_equal(np.sort(batches.reshape(3, 7), axis=1), [range(7)] * 3)
    assert all(len(set(batch)) == 3 for batch in batches)


@pytest.mark.slow
def test_images_of_a_class_are_distinct_while_they_last_and_then_repeat_evenly():
    counts = [1, 2, 3, 5, 9]
    labels = np.repeat(np.arange(5), counts)
    np.random.default_rng(0).shuffle(labels)
    sampler = ClassSampler(labels, classes_per_batch=3, images_per_class=5)
    assert sampler.batch_size == 15
    rows = draw(sampler.rows, 40).reshape(40, 3, 5)
    classes = draw(sampler.classes, 40)
    np.testing.assert_array_equal(labels[rows], np.repeat(classes[..., None], 5, axis=2))
    for visit, label in zip(rows.reshape(-1, 5), classes.reshape(-1), strict=True):
        times = np.unique(visit, return_counts=True)[1]
        assert len(times) == min(5, counts[label])
        assert times.max() - times.min() <= 1


def test_labels_may_be_any_integers_in_any_order():
    labels = np.array([907, -1, 12, 907, 12, -1, 12, 907])
    sampler = ClassSampler(labels, classes_per_batch=3, images_per_class=2)
    for rows in draw(sampler.rows, 5):
        pairs = labels[rows].reshape(3, 2)
        assert (pairs[:, 0] == pairs[:, 1]).all()
        assert set(pairs[:, 0]) == {907, -1, 12}
        assert len(set(rows)) == 6


@pytest.mark.slow
def test_a_batch_is_a_function_of_seed_and_step_alone():
    sampler = make_sampler(11, 4, per_class=3, images=5, seed=6)
    expected = draw(sampler.rows, 12)
    same = make_sampler(11, 4, per_class=3, images=5, seed=6)
    compiled = tf.function(same.rows, input_signature=[tf.TensorSpec([], tf.int64)])
    for step in [7, 0, 11, 3, 7]:
        for rows in [
            same.rows(step),
            same.rows(np.int64(step)),
            same.rows(tf.constant(step, tf.int32)),
            same.rows(tf.constant(step, tf.int64)),
            compiled(step),
        ]:
            assert rows.dtype == tf.int64
            np.testing.assert_array_equal(rows, expected[step])
    assert len(np.unique(expected, axis=0)) == 12


def test_another_seed_draws_other_classes_and_other_images():
    classes = [make_sampler(50, 8, seed=seed).classes(3) for seed in (0, 1, -1, 2**62)]
    assert len({tuple(drawn.numpy()) for drawn in classes}) == 4
    # All classes are in every batch here; sorting leaves only the choice of images.
    images = [
        np.sort(make_sampler(2, 2, per_class=3, images=40, seed=seed).rows(0)) for seed in (0, 1)
    ]
    assert (images[0] != images[1]).any()


def test_any_two_classes_meet_equally_often():
    batches = draw(make_sampler(20, 6).classes, 3000)
    meetings = np.zeros((20, 20))
    for first in range(6):
        for second in range(6):
            np.add.at(meetings, (batches[:, first], batches[:, second]), 1)
    assert_uniform(meetings[np.triu_indices(20, 1)])


def test_orders_are_uniform_and_do_not_depend_on_the_cycle_before():
    cycles = draw(make_sampler(10, 5).classes, 3000).reshape(1500, 10)
    for place in range(10):
        transitions = np.zeros((10, 10))
        np.add.at(transitions, (cycles[:-1, place], cycles[1:, place]), 1)
        assert_uniform(transitions)


def test_images_are_drawn_uniformly():
    rows = draw(make_sampler(2, 2, per_class=4, images=10).rows, 1500)
    assert_uniform(np.bincount(rows.reshape(-1), minlength=20))
    pairs = np.zeros((10, 10))
    first_class = np.sort(rows, axis=1)[:, :4]
    for first in range(4):
        for second in range(first + 1, 4):
            np.add.at(pairs, (first_class[:, first], first_class[:, second]), 1)
    assert_uniform(pairs[np.triu_indices(10, 1)])


@pytest.mark.slow
def test_images_of_a_large_class_are_drawn_uniformly_and_without_replacement():
    labels = np.repeat([0, 1, 2], [2000, 3, 1001])
    sampler = ClassSampler(labels, classes_per_batch=3, images_per_class=8)
    rows = draw(sampler.rows, 1500)
    np.testing.assert_array_equal(np.sort(labels[rows], axis=1), [np.repeat([0, 1, 2], 8)] * 1500)
    by_class = np.sort(rows, axis=1).reshape(1500, 3, 8)
    assert (np.diff(by_class[:, [0, 2]], axis=2) > 0).all()
    assert_uniform(np.bincount(by_class[:, 0].reshape(-1), minlength=2000))
    assert_uniform(np.bincount(by_class[:, 2].reshape(-1) - 2003, minlength=1001))
    for small in by_class[:, 1]:
        assert np.unique(small, return_counts=True)[1].min() == 2
    first, second = (rows[labels[rows] == 0].reshape(1500, 8)[:, i] // 400 for i in range(2))
    assert_uniform(np.bincount(5 * first + second, minlength=25))  # whatever the order


def test_a_batch_costs_no_more_where_one_class_is_huge():
    sampler = ClassSampler(np.repeat([0, 1], [5, 200_000]), classes_per_batch=2, images_per_class=4)
    graph = tf.function(sampler.rows, input_signature=[tf.TensorSpec([], tf.int64)])
    stored = {"Const", "Placeholder"}  # the rows of all classes, which are only looked up
    sizes = [
        output.shape.num_elements() or 0
        for operation in graph.get_concrete_function().graph.get_operations()
        if operation.type not in stored
        for output in operation.outputs
        if output.shape.is_fully_defined()
    ]
    assert 8 <= max(sizes) <= 2 * 1000


def test_batches_of_usual_classes_are_the_same_in_every_version():
    labels = np.concatenate([np.repeat(np.arange(50), 20), np.full(1000, 50)])
    sampler = ClassSampler(labels, classes_per_batch=8, images_per_class=8)
    assert sampler.rows(3)[:8].numpy().tolist() == [637, 631, 623, 635, 620, 638, 622, 628]


@pytest.mark.parametrize(
    ("classes", "per_batch", "per_class", "message"),
    [
        (5, 1, 2, r"classes_per_batch=1` leaves no negatives; use 2"),
        (5, 2, 0, r"images_per_class=0` must be at least 1"),
        (5, 6, 2, r"classes_per_batch=6` is more than the 5 training classes"),
        (0, 2, 2, r"classes_per_batch=2` is more than the 0 training classes"),
    ],
)
def test_unusable_arguments(classes, per_batch, per_class, message):
    with pytest.raises(InputError, match=message):
        make_sampler(classes, per_batch, per_class)


@pytest.mark.parametrize("key", [[0, 0], [1, 2], [2**40, -5], [-7, 2**62]])
def test_uniform_numbers_are_those_of_tensorflow(key):
    key = tf.constant(key, tf.int64)
    for shape in ([1], [3, 1000]):
        expected = tf.random.stateless_uniform(shape, key, alg="philox")
        np.testing.assert_array_equal(uniform(key, shape), expected)
