import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_distill.losses.absolute_teacher import AbsoluteTeacher

GOLDEN = Path(__file__).parents[1] / "golden"


def naive(teacher, student, *, reduction="mean", sample_weight=None):
    total = 0.0
    for i, (t, s) in enumerate(zip(np.float64(teacher), np.float64(student), strict=True)):
        squares = [(b - a + 1e-6) ** 2 for a, b in zip(t, s, strict=True)]
        total += np.sqrt(sum(squares)) * (1.0 if sample_weight is None else sample_weight[i])
    return total / len(student) if reduction == "mean" else total


@pytest.mark.parametrize("case", sorted(path.stem for path in GOLDEN.glob("embdist__absolute_*")))
def test_reference(case, value_and_gradient):
    golden = np.load(GOLDEN / f"{case}.npz")
    value, gradient = value_and_gradient(
        lambda x: AbsoluteTeacher()(golden["emb_t"], x), golden["emb_s"]
    )
    np.testing.assert_allclose(value, golden["loss_f64"], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, golden["grad_emb_s_f64"], rtol=1e-4, atol=1e-5)


@settings(max_examples=25)
@given(n=st.integers(1, 9), dim=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
def test_double_loop(n, dim, seed):
    random = np.random.default_rng(seed)
    teacher, student = np.float32(random.normal(size=(2, n, dim)))
    weight = random.uniform(0, 3, n)
    for reduction in AbsoluteTeacher.reductions:
        for sample_weight in (None, weight):
            np.testing.assert_allclose(
                AbsoluteTeacher(reduction)(teacher, student, sample_weight),
                naive(teacher, student, reduction=reduction, sample_weight=sample_weight),
                rtol=1e-5,
            )


def test_student_that_is_one_epsilon_short_has_a_finite_gradient(value_and_gradient):
    value, gradient = value_and_gradient(
        lambda x: AbsoluteTeacher()(np.zeros((2, 3)), x), np.full((2, 3), -1e-6, "float32")
    )
    assert 0 <= value < 1e-9
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("embeddings", [np.zeros((4, 3)), np.ones((4, 3)), np.ones((1, 1))])
def test_degenerate_batches_are_finite(embeddings, value_and_gradient):
    value, gradient = value_and_gradient(
        lambda x: AbsoluteTeacher()(embeddings, x), np.float32(embeddings)
    )
    np.testing.assert_allclose(value, np.sqrt(embeddings.shape[1]) * 1e-6, rtol=1e-5)
    assert np.isfinite(gradient).all()


def test_different_widths():
    with pytest.raises(ValueError, match=r"width 5, the student's 3.*embedding_dim=5.*Relative"):
        AbsoluteTeacher()(np.ones((2, 5)), np.ones((2, 3)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_precision(dtype):
    teacher, student = np.random.default_rng(0).normal(size=(2, 16, 64))
    loss = AbsoluteTeacher()(teacher, tf.cast(student, dtype))
    assert loss.dtype == "float32"
    np.testing.assert_allclose(loss, naive(teacher, student), rtol=2e-3)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_of_unknown_batch_size(jit_compile):
    signature = [tf.TensorSpec([None, 4]), tf.TensorSpec([None, 4])]
    loss = tf.function(AbsoluteTeacher(), jit_compile=jit_compile, input_signature=signature)
    for rows in (3, 5):
        teacher, student = np.float32(np.random.default_rng(rows).normal(size=(2, rows, 4)))
        np.testing.assert_allclose(loss(teacher, student), naive(teacher, student), rtol=1e-5)


def test_config_round_trip():
    loss = AbsoluteTeacher("sum", name="near")
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    copy = keras.saving.deserialize_keras_object(serialized)
    assert type(copy) is AbsoluteTeacher
    assert copy.get_config() == loss.get_config() == {"reduction": "sum", "name": "near"}
    np.testing.assert_allclose(copy([[1.0], [0.0]], [[0.0], [2.0]]), 3, rtol=1e-5)


def test_plain_keras_model():
    vectors, targets = np.random.default_rng(0).normal(size=(2, 8, 3))
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(3, kernel_initializer="identity")(inputs))
    model.compile("sgd", loss=AbsoluteTeacher())
    expected = pytest.approx(naive(targets, vectors), rel=1e-5)
    assert model.evaluate(vectors, targets, verbose=0) == expected
