import numpy as np
import pytest
import tensorflow as tf

from keras_distill.data.class_sampler import ClassSampler
from keras_distill.data.unlabelled_sampler import UnlabelledSampler
from keras_distill.errors import InputError


def draw(sampler, steps, first=0):
    dataset = tf.data.Dataset.range(first, first + steps).map(sampler.rows)
    return dataset.batch(steps).get_single_element().numpy()


# Batches that divide the images or not, one that is all of them, some that are more; many images.
SHAPES = [(6, 3), (7, 3), (5, 5), (3, 7), (1, 4), (2, 16), (2500, 300)]


@pytest.mark.parametrize(("count", "batch_size"), SHAPES)
def test_every_image_once_before_any_repeats(count, batch_size):
    rows = draw(
        UnlabelledSampler(count, batch_size=batch_size, seed=3), 9 + 2 * count // batch_size
    )
    cycles = rows.reshape(-1)[: rows.size // count * count].reshape(-1, count)
    assert len(cycles) >= 2
    np.testing.assert_array_equal(
        np.sort(cycles, axis=1), np.tile(np.arange(count), (len(cycles), 1))
    )


def test_batches_are_a_function_of_seed_and_step():
    sampler = UnlabelledSampler(40, batch_size=7, seed=5)
    rows = draw(sampler, 12)
    again = UnlabelledSampler(40, batch_size=7, seed=5)
    np.testing.assert_array_equal(again.rows(tf.constant(8, tf.int32)), rows[8])
    np.testing.assert_array_equal(draw(again, 5, first=7), rows[7:])
    assert (draw(UnlabelledSampler(40, batch_size=7, seed=6), 12) != rows).any()


def test_orders_of_epochs_differ():
    first, second = draw(UnlabelledSampler(30, batch_size=30), 2)
    assert (first != second).any()


@pytest.mark.parametrize("count", [30, 1200])
def test_orders_are_not_those_of_the_classes(count):
    half = count // 2
    sampler = ClassSampler(np.arange(count), classes_per_batch=half, images_per_class=1, seed=7)
    classes = tf.data.Dataset.range(6).map(sampler.classes).batch(6).get_single_element()
    theirs = classes.numpy().reshape(3, count)
    ours = draw(UnlabelledSampler(count, batch_size=count, seed=7), 3)
    # Unrelated orders have one place in common on average, and seldom six.
    assert (ours[:, None] == theirs[None]).sum(axis=2).max() < 6


@pytest.mark.parametrize(
    ("count", "batch_size", "said"), [(0, 4, "no unlabelled images"), (4, 0, "at least 1")]
)
def test_refusals(count, batch_size, said):
    with pytest.raises(InputError, match=said):
        UnlabelledSampler(count, batch_size=batch_size)
