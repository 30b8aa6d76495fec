import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_distill.losses.rkd_distance import RkdDistance


def huber(x):
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def relative_distances(rows, weight):
    n = len(rows)
    distances = np.zeros((n, n))
    total, weights = 0.0, 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                distances[i, j] = max(np.linalg.norm(rows[i] - rows[j]), 1e-6)
                total += weight[i] * weight[j] * distances[i, j]
                weights += weight[i] * weight[j]
    return distances * weights / total if weights else distances


def naive(teacher, student, *, reduction="mean", sample_weight=None):
    n = len(student)
    weight = np.ones(n) if sample_weight is None else sample_weight
    d_teacher = relative_distances(np.float64(teacher), weight)
    d_student = relative_distances(np.float64(student), weight)
    total = 0.0
    for i in range(n):
        for j in range(n):
            total += weight[i] * weight[j] * huber(d_student[i, j] - d_teacher[i, j])
    return total / n**2 if reduction == "mean" else total


def test_scales_and_origins_do_not_matter():
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(8, 6)), random.normal(size=(8, 3))
    value = RkdDistance()(teacher, student)
    np.testing.assert_allclose(RkdDistance()(7 * teacher + 2, student), value, rtol=1e-5)
    np.testing.assert_allclose(RkdDistance()(teacher, 0.01 * student - 3), value, rtol=1e-4)
    np.testing.assert_allclose(RkdDistance()(student, 5 * student + 1), 0, atol=1e-9)


def test_huber_function_is_linear_beyond_one():
    teacher = [[0.0], [1.0], [2.0], [3.0]]
    student = [[0.0], [0.0], [0.0], [1.0]]
    d_teacher = np.abs(np.subtract.outer(range(4), range(4))) / (5 / 3)
    d_student = np.array([[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [1, 1, 1, 0]]) / 0.5
    difference = np.abs(d_student - d_teacher)
    assert (difference > 1).any()
    expected = np.where(difference < 1, difference**2 / 2, difference - 0.5).mean()
    np.testing.assert_allclose(RkdDistance()(teacher, student), expected, rtol=1e-4)


def test_nearly_collapsed_student_is_measured_precisely():
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(8, 6)), 1 + 1e-4 * random.normal(size=(8, 3))
    student = np.float32(student)
    np.testing.assert_allclose(RkdDistance()(teacher, student), naive(teacher, student), rtol=1e-4)


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 7),
    widths=st.tuples(st.integers(2, 12), st.integers(2, 12)),
    seed=st.integers(0, 2**32 - 1),
)
def test_loops(n, widths, seed):
    random = np.random.default_rng(seed)
    teacher, student = (np.float32(random.normal(size=(n, width))) for width in widths)
    weight = random.uniform(0, 3, n)
    for reduction in RkdDistance.reductions:
        for sample_weight in (None, weight):
            np.testing.assert_allclose(
                RkdDistance(reduction)(teacher, student, sample_weight),
                naive(teacher, student, reduction=reduction, sample_weight=sample_weight),
                rtol=1e-4,
                atol=1e-5,
            )


@pytest.mark.parametrize("reduction", RkdDistance.reductions)
def test_gradient_is_the_difference_quotient(reduction, value_and_gradient):
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(5, 4)), random.normal(size=(5, 3))
    weight = random.uniform(0, 3, 5)
    _, gradient = value_and_gradient(
        lambda x: RkdDistance(reduction)(teacher, x, weight), np.float32(student)
    )
    for index in np.ndindex(student.shape):
        step = np.zeros_like(student)
        step[index] = 1e-5
        up, down = (
            naive(teacher, student + s, reduction=reduction, sample_weight=weight)
            for s in (step, -step)
        )
        np.testing.assert_allclose(gradient[index], (up - down) / 2e-5, rtol=1e-3, atol=1e-5)


DEGENERATE = {
    "zeros": np.zeros((4, 3)),
    "equal": np.ones((4, 3)),
    "one row": np.ones((1, 3)),
    "one zero row": np.zeros((1, 3)),
    "two rows": np.eye(2, 3),
    "two equal rows": np.ones((2, 3)),
    "duplicates": np.repeat([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [3.0, 1.0, 2.0]], 2, axis=0),
}


@pytest.mark.parametrize("reduction", RkdDistance.reductions)
@pytest.mark.parametrize("student", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_batches_are_finite(student, reduction, value_and_gradient):
    student = np.float32(student)
    loss = RkdDistance(reduction)
    for teacher in (student, np.float32(np.random.default_rng(0).normal(size=student.shape))):
        for sample_weight in (None, np.zeros(len(student))):
            value, gradient = value_and_gradient(
                lambda x, t=teacher, w=sample_weight: loss(t, x, w), student
            )
            expected = naive(teacher, student, reduction=reduction, sample_weight=sample_weight)
            np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)
            assert np.isfinite(gradient).all()
            if teacher is student or sample_weight is not None:
                np.testing.assert_allclose(gradient, 0, atol=1e-6)
    for teacher in DEGENERATE.values():
        if teacher.shape == student.shape:
            value, gradient = value_and_gradient(lambda x, t=teacher: loss(t, x), student)
            assert np.isfinite(value)
            assert np.isfinite(gradient).all()


@pytest.mark.parametrize("reduction", RkdDistance.reductions)
def test_rows_of_weight_zero_have_no_part(reduction, value_and_gradient):
    random = np.random.default_rng(0)
    teacher, student, other = np.float32(random.normal(size=(3, 5, 4)))
    weight = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    kept = weight > 0
    loss = RkdDistance(reduction)
    value, gradient = value_and_gradient(lambda x: loss(teacher, x, weight), student)
    np.testing.assert_array_equal(gradient[~kept], 0)
    changed = np.where(kept[:, None], student, other)
    np.testing.assert_allclose(loss(teacher, changed, weight), value, rtol=1e-5)
    if reduction == "sum":
        np.testing.assert_allclose(loss(teacher[kept], student[kept]), value, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_precision(dtype):
    teacher, student = np.random.default_rng(0).normal(size=(2, 12, 64))
    student = tf.cast(student, dtype)
    loss = RkdDistance()(teacher, student)
    assert loss.dtype == "float32"
    np.testing.assert_allclose(loss, naive(teacher, tf.cast(student, "float64")), rtol=1e-4)


def test_teacher_gets_no_gradient():
    teacher, student = tf.random.normal((2, 4, 3), seed=0)
    with tf.GradientTape() as tape:
        tape.watch([teacher, student])
        value = RkdDistance()(teacher, student)
    to_teacher, to_student = tape.gradient(value, [teacher, student])
    assert to_teacher is None
    assert np.abs(to_student).max() > 0


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_of_unknown_batch_size(jit_compile):
    signature = [tf.TensorSpec([None, 4]), tf.TensorSpec([None, 3])]
    loss = tf.function(RkdDistance(), jit_compile=jit_compile, input_signature=signature)
    for rows in (3, 5):
        random = np.random.default_rng(rows)
        teacher = np.float32(random.normal(size=(rows, 4)))
        student = np.float32(random.normal(size=(rows, 3)))
        np.testing.assert_allclose(loss(teacher, student), naive(teacher, student), rtol=1e-4)


@pytest.mark.parametrize("reduction", RkdDistance.reductions)
def test_config_round_trip(reduction):
    loss = RkdDistance(reduction, name="own")
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    copy = keras.saving.deserialize_keras_object(serialized)
    assert type(copy) is RkdDistance
    assert copy.get_config() == loss.get_config() == {"reduction": reduction, "name": "own"}
    assert RkdDistance().name == "rkd_distance"
