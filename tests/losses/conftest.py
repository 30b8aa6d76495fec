import json

import keras
import numpy as np
import pytest
import tensorflow as tf

FIRST = 2**24  # float32 cannot tell the labels from here on apart
DIM = 4


def random_batch(rows=12, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(-1, 4, rows)
    return np.where(labels < 0, -1, labels + FIRST), np.float32(random.normal(size=(rows, DIM)))


def value_and_gradient(loss, labels, embeddings, **references):
    embeddings = tf.convert_to_tensor(embeddings)
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        value = loss(labels, embeddings, **references)
    gradient = tape.gradient(value, embeddings, unconnected_gradients="zero")
    return value.numpy(), gradient.numpy()


def is_finite_for_degenerate_batches(loss):
    for labels, embeddings in (
        ([0, 0, 1, 1], np.zeros((4, DIM))),
        ([0, 0, 1, 1], np.ones((4, DIM))),
        ([0, 0, 1, 1], [[1, 0, 0, 0], [-1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]),
        ([0, 0, 0], np.eye(3, DIM)),
        ([0, 1, 2], np.eye(3, DIM)),
        ([0], np.ones((1, DIM))),
        ([0, 0, 1], [[1e18] * DIM, [0] * DIM, [1e-18] * DIM]),
        ([-1, -1], np.eye(2, DIM)),
    ):
        labels = np.array(labels)
        labels = np.where(labels < 0, -1, labels + FIRST)
        value, gradient = value_and_gradient(loss, labels, np.float32(embeddings))
        assert np.isfinite(value), embeddings
        assert np.isfinite(gradient).all(), embeddings
        assert (labels >= 0).any() or value == 0


def does_not_hide_nan(loss):
    labels, embeddings = random_batch()
    assert np.isnan(loss(labels, np.full_like(embeddings, np.nan)))


def takes_half_precision(loss):
    labels, embeddings = random_batch()
    for dtype in ("float16", "bfloat16"):
        rounded = tf.cast(embeddings, dtype)
        value, gradient = value_and_gradient(loss, labels, rounded)
        assert value.dtype == "float32"
        np.testing.assert_allclose(value, loss(labels, tf.cast(rounded, "float32")), rtol=1e-6)
        assert np.isfinite(np.float32(gradient)).all()


def ignores_unlabelled_rows(loss):
    labels, embeddings = random_batch()
    labelled = labels >= 0
    assert not labelled.all()
    value, gradient = value_and_gradient(loss, labels, embeddings)
    assert value > 0
    np.testing.assert_array_equal(gradient[~labelled], 0)
    np.testing.assert_allclose(value, loss(labels[labelled], embeddings[labelled]), rtol=1e-5)


def compiles_for_any_batch_size(loss):
    for jit_compile in (False, True):
        compiled = tf.function(
            lambda labels, embeddings: value_and_gradient_in_graph(loss, labels, embeddings),
            jit_compile=jit_compile,
            input_signature=[tf.TensorSpec([None], "int64"), tf.TensorSpec([None, DIM])],
        )
        for rows in (9, 12):
            labels, embeddings = random_batch(rows)
            value, gradient = value_and_gradient(loss, labels, embeddings)
            compiled_value, compiled_gradient = compiled(labels, embeddings)
            np.testing.assert_allclose(compiled_value, value, rtol=1e-5)
            np.testing.assert_allclose(compiled_gradient, gradient, rtol=1e-3, atol=1e-5)


def value_and_gradient_in_graph(loss, labels, embeddings):
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        value = loss(labels, embeddings)
    return value, tape.gradient(value, embeddings)


def survives_serialisation(loss):
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    assert serialized["registered_name"] == f"keras_distill>{type(loss).__name__}"
    copy = keras.saving.deserialize_keras_object(serialized)
    assert copy.get_config() == loss.get_config()
    if loss.layer is not None:
        copy.build(DIM)
        copy.layer.set_weights(loss.layer.get_weights())
    assert copy(*random_batch()) == loss(*random_batch())


def compares_with_references_if_it_can(loss):
    labels, embeddings = random_batch()
    references = {"ref_labels": np.full(5, -1), "ref_embeddings": np.zeros((5, DIM), "float32")}
    if loss.takes_references:
        value, gradient = value_and_gradient(loss, labels, embeddings, **references)
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)
    else:
        with pytest.raises(ValueError, match="give no"):
            loss(labels, embeddings, **references)


CHECKS = [
    is_finite_for_degenerate_batches,
    does_not_hide_nan,
    takes_half_precision,
    ignores_unlabelled_rows,
    compiles_for_any_batch_size,
    survives_serialisation,
    compares_with_references_if_it_can,
]


@pytest.fixture(params=CHECKS, ids=lambda check: check.__name__)
def contract(request):
    """What every task loss must do, for embeddings of width 4 and labels 2**24 to 2**24 + 3."""
    return request.param


@pytest.fixture(params=range(4))
def batch(request):
    """Labels from 2**24 to 2**24 + 3 with some -1, embeddings `(12, 4)` and sample weights."""
    labels, embeddings = random_batch(seed=request.param)
    return labels, embeddings, np.random.default_rng(request.param).uniform(0, 3, len(labels))


@pytest.fixture
def references():
    """Labels from 2**24 to 2**24 + 3 with some -1 and embeddings `(15, 4)` to compare with."""
    labels, embeddings = random_batch(rows=15, seed=100)
    return {"ref_labels": labels, "ref_embeddings": embeddings}


@pytest.fixture(scope="session")
def numeric_gradient():
    """Computes the gradient of a function of a matrix by central differences in float64."""

    def compute(function, matrix, step=1e-6):
        matrix = np.float64(matrix)
        gradient = np.zeros_like(matrix)
        for index in np.ndindex(matrix.shape):
            moved = [matrix.copy(), matrix.copy()]
            moved[0][index] -= step
            moved[1][index] += step
            low, high = map(function, moved)
            gradient[index] = (high - low) / (2 * step)
        return gradient

    return compute
