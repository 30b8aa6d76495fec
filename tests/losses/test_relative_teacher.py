import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_distill.losses.relative_teacher import RelativeTeacher

GOLDEN = Path(__file__).parents[1] / "golden"


def naive(teacher, student, *, reduction="frobenius", sample_weight=None):
    rows = len(student)
    weight = np.ones(rows) if sample_weight is None else sample_weight
    teacher, student = np.float64(teacher), np.float64(student)
    absolute, squared = 0.0, 0.0
    for i in range(rows):
        for j in range(rows):
            d_teacher = np.linalg.norm(teacher[i] - teacher[j])
            d_student = np.linalg.norm(student[i] - student[j])
            absolute += weight[i] * weight[j] * abs(d_student - d_teacher)
            squared += weight[i] * weight[j] * (d_student - d_teacher) ** 2
    if reduction == "frobenius":
        return np.sqrt(squared)
    return absolute if reduction == "sum" else absolute / max(rows * (rows - 1), 1)


@pytest.mark.parametrize("case", sorted(path.stem for path in GOLDEN.glob("embdist__relative_*")))
def test_reference(case, value_and_gradient):
    golden = np.load(GOLDEN / f"{case}.npz")
    value, gradient = value_and_gradient(
        lambda x: RelativeTeacher()(golden["emb_t"], x), golden["emb_s"]
    )
    np.testing.assert_allclose(value, golden["loss_f64"], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, golden["grad_emb_s_f64"], rtol=1e-4, atol=1e-5)


@settings(max_examples=20)
@given(
    n=st.integers(1, 9),
    widths=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    seed=st.integers(0, 2**32 - 1),
)
def test_double_loop(n, widths, seed):
    random = np.random.default_rng(seed)
    teacher, student = (np.float32(random.normal(size=(n, width))) for width in widths)
    weight = random.uniform(0, 3, n)
    for reduction in RelativeTeacher.reductions:
        for sample_weight in (None, weight):
            np.testing.assert_allclose(
                RelativeTeacher(reduction)(teacher, student, sample_weight),
                naive(teacher, student, reduction=reduction, sample_weight=sample_weight),
                rtol=1e-4,
                atol=1e-4,
            )


@pytest.mark.parametrize("reduction", RelativeTeacher.reductions)
def test_gradient_is_the_difference_quotient(reduction, value_and_gradient):
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(5, 4)), random.normal(size=(5, 3))
    _, gradient = value_and_gradient(
        lambda x: RelativeTeacher(reduction)(teacher, x), np.float32(student)
    )
    for index in np.ndindex(student.shape):
        step = np.zeros_like(student)
        step[index] = 1e-6
        up, down = (naive(teacher, student + s, reduction=reduction) for s in (step, -step))
        np.testing.assert_allclose(gradient[index], (up - down) / 2e-6, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("reduction", RelativeTeacher.reductions)
@pytest.mark.parametrize(
    "embeddings",
    [np.zeros((4, 3)), np.ones((4, 3)), np.ones((1, 2)), np.eye(4)],
    ids=["zeros", "duplicates", "one row", "unit vectors"],
)
def test_student_equal_to_teacher(reduction, embeddings, value_and_gradient):
    value, gradient = value_and_gradient(
        lambda x: RelativeTeacher(reduction)(embeddings, x), np.float32(embeddings)
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("reduction", RelativeTeacher.reductions)
@pytest.mark.parametrize("student", [np.zeros((4, 3)), np.ones((4, 3))])
def test_collapsed_student_is_finite(reduction, student, value_and_gradient):
    value, gradient = value_and_gradient(
        lambda x: RelativeTeacher(reduction)(np.eye(4), x), np.float32(student)
    )
    np.testing.assert_allclose(value, naive(np.eye(4), student, reduction=reduction), rtol=1e-3)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("reduction", RelativeTeacher.reductions)
def test_rows_of_weight_zero_have_no_part(reduction, value_and_gradient):
    random = np.random.default_rng(0)
    teacher, student, other = np.float32(random.normal(size=(3, 5, 4)))
    weight = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    changed = np.where(weight[:, None] > 0, student, other)
    loss = RelativeTeacher(reduction)
    value, gradient = value_and_gradient(lambda x: loss(teacher, x, weight), student)
    np.testing.assert_array_equal(gradient[weight == 0], 0)
    np.testing.assert_allclose(loss(teacher, changed, weight), value, rtol=1e-6)
    value, gradient = value_and_gradient(lambda x: loss(teacher, x, 0 * weight), student)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_precision(dtype):
    teacher, student = np.random.default_rng(0).normal(size=(2, 16, 64))
    loss = RelativeTeacher()(teacher, tf.cast(student, dtype))
    assert loss.dtype == "float32"
    np.testing.assert_allclose(loss, naive(teacher, student), rtol=5e-3)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("reduction", RelativeTeacher.reductions)
def test_graph_of_unknown_batch_size(reduction, jit_compile):
    signature = [tf.TensorSpec([None, 4]), tf.TensorSpec([None, 2])]
    loss = tf.function(
        RelativeTeacher(reduction), jit_compile=jit_compile, input_signature=signature
    )
    for rows in (3, 5):
        random = np.random.default_rng(rows)
        teacher = np.float32(random.normal(size=(rows, 4)))
        student = np.float32(random.normal(size=(rows, 2)))
        expected = naive(teacher, student, reduction=reduction)
        np.testing.assert_allclose(loss(teacher, student), expected, rtol=1e-5)


@pytest.mark.parametrize("reduction", RelativeTeacher.reductions)
def test_config_round_trip(reduction):
    loss = RelativeTeacher(reduction, name="shape")
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    copy = keras.saving.deserialize_keras_object(serialized)
    assert type(copy) is RelativeTeacher
    assert copy.get_config() == loss.get_config() == {"reduction": reduction, "name": "shape"}


def test_plain_keras_model():
    random = np.random.default_rng(0)
    vectors, targets = random.normal(size=(8, 3)), random.normal(size=(8, 5))
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(3, kernel_initializer="identity")(inputs))
    model.compile("sgd", loss=RelativeTeacher("mean"))
    expected = pytest.approx(naive(targets, vectors, reduction="mean"), rel=1e-5)
    assert model.evaluate(vectors, targets, verbose=0) == expected
