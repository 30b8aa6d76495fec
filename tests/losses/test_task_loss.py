import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_distill.losses.task_loss import TaskLoss


class Length(TaskLoss):
    """Length of each row; remembers what it was called with."""

    def call(self, labels, embeddings, ref_labels=None, ref_embeddings=None):
        self.arguments = labels, embeddings, ref_labels, ref_embeddings
        return ops.sqrt(ops.sum(ops.square(embeddings), axis=1))


EMBEDDINGS = np.float32([[3, 4], [6, 8], [9, 12]])


def test_mean_over_labelled_rows():
    assert Length()([0, 1, 2], EMBEDDINGS) == 10
    assert Length()([0, -1, 2], EMBEDDINGS) == 10
    assert Length()([0, -1, -1], EMBEDDINGS) == 5
    assert Length()([-1, -1, -1], EMBEDDINGS) == 0


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_sample_weight(shape):
    weight = np.reshape([2.0, 5.0, 0.5], shape)
    np.testing.assert_allclose(Length()([0, 1, 2], EMBEDDINGS, weight), (10 + 50 + 7.5) / 3)
    np.testing.assert_allclose(Length()([0, -1, 2], EMBEDDINGS, weight), (10 + 7.5) / 2)


def test_call_gets_integers_and_float32():
    loss = Length()
    value = loss(
        np.array([[0], [1], [2]], "uint8"),
        tf.cast(EMBEDDINGS, "bfloat16"),
        ref_labels=np.array([2**40, -1]),
        ref_embeddings=EMBEDDINGS[:2],
    )
    labels, embeddings, ref_labels, ref_embeddings = loss.arguments
    assert value.dtype == embeddings.dtype == "float32"
    assert labels.dtype == ref_labels.dtype == "int64"
    np.testing.assert_array_equal(labels, [0, 1, 2])
    np.testing.assert_array_equal(ref_labels, [2**40, -1])
    np.testing.assert_array_equal(ref_embeddings, EMBEDDINGS[:2])


@pytest.mark.parametrize("labels", [[0.0, 1.0, 2.0], np.zeros(3, "float64"), [True, False, True]])
def test_labels_that_are_no_integers(labels):
    with pytest.raises(TypeError, match=r"must be integers.*astype\('int64'\)"):
        Length()(labels, EMBEDDINGS)


def test_float_reference_labels():
    with pytest.raises(TypeError, match="must be integers"):
        Length()([0, 1, 2], EMBEDDINGS, ref_labels=[0.0], ref_embeddings=EMBEDDINGS[:1])


@pytest.mark.parametrize("given", ["ref_labels", "ref_embeddings"])
def test_references_go_together(given):
    with pytest.raises(ValueError, match=f"only `{given}` was given"):
        Length()([0, 1, 2], EMBEDDINGS, **{given: [0, 1, 2]})


def test_name():
    assert Length(name="long").name == "long"
    assert Length(name="long").get_config() == {"name": "long"}


def test_subclass_without_call():
    with pytest.raises(ValueError, match=r"Empty must implement call\(\)"):
        type("Empty", (TaskLoss,), {})()([0], [[1.0]])


def test_a_loss_without_variables_has_nothing_to_build_or_update():
    loss = Length()
    loss.build(2)
    loss.update([0, 1, 2], EMBEDDINGS)
    assert loss.layer is None
    assert loss.takes_references
    assert loss([0, 1, 2], EMBEDDINGS) == 10
