import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_distill.losses.probabilistic_transfer import ProbabilisticTransfer

GOLDEN = Path(__file__).parents[1] / "golden"


def probabilities(rows, weight):
    n = len(rows)
    result = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            lengths = np.linalg.norm(rows[i]) * np.linalg.norm(rows[j])
            result[i, j] = (1 + (rows[i] @ rows[j] / lengths if lengths else 0)) / 2
        result[i] /= max(sum(weight * result[i]), 1e-7)
    return result


def naive(teacher, student, *, reduction="mean", sample_weight=None):
    n = len(student)
    weight = np.ones(n) if sample_weight is None else sample_weight
    p_teacher = probabilities(np.float64(teacher), weight)
    p_student = probabilities(np.float64(student), weight)
    total = 0.0
    for i in range(n):
        for j in range(n):
            p, q = p_teacher[i, j], p_student[i, j]
            total += weight[i] * weight[j] * p * np.log((p + 1e-7) / (q + 1e-7))
    return total / n**2 if reduction == "mean" else total


def test_reference(value_and_gradient):
    golden = np.load(GOLDEN / "relational__pkt_seed0.npz")
    value, gradient = value_and_gradient(
        lambda x: ProbabilisticTransfer()(golden["emb_t"], x), golden["emb_s"]
    )
    np.testing.assert_allclose(value, golden["loss_f64"], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, golden["grad_emb_s_f64"], rtol=1e-4, atol=1e-7)


def test_lengths_and_rotations_do_not_matter():
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(8, 6)), random.normal(size=(8, 3))
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    lengths = random.uniform(0.1, 10, size=(8, 1))
    loss = ProbabilisticTransfer()
    value = loss(teacher, student)
    np.testing.assert_allclose(loss(lengths * teacher, student), value, rtol=1e-4)
    np.testing.assert_allclose(loss(teacher, lengths * student @ rotation), value, rtol=1e-4)
    np.testing.assert_allclose(loss(student, lengths * student @ rotation), 0, atol=1e-7)


def test_opposite_neighbours_have_finite_gradients(value_and_gradient):
    student = np.float32([[1, 2, 3], [-1, -2, -3], [2, 4, 6]])
    value, gradient = value_and_gradient(
        lambda x: ProbabilisticTransfer()(np.ones((3, 3)), x), student
    )
    np.testing.assert_allclose(value, naive(np.ones((3, 3)), student), rtol=0.1)
    assert np.isfinite(gradient).all()


def test_weight_counts_equal_rows():
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(3, 6)), random.normal(size=(3, 4))
    loss = ProbabilisticTransfer("sum")
    repeated = loss(*(np.repeat(rows, [2, 1, 3], axis=0) for rows in (teacher, student)))
    np.testing.assert_allclose(loss(teacher, student, [2, 1, 3]), repeated, rtol=1e-4)


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 7),
    widths=st.tuples(st.integers(3, 12), st.integers(3, 12)),
    seed=st.integers(0, 2**32 - 1),
)
def test_loops(n, widths, seed):
    random = np.random.default_rng(seed)
    teacher, student = (np.float32(random.normal(size=(n, width))) for width in widths)
    weight = random.uniform(0, 3, n)
    for reduction in ProbabilisticTransfer.reductions:
        for sample_weight in (None, weight):
            np.testing.assert_allclose(
                ProbabilisticTransfer(reduction)(teacher, student, sample_weight),
                naive(teacher, student, reduction=reduction, sample_weight=sample_weight),
                rtol=1e-4,
                atol=1e-5,
            )


@pytest.mark.parametrize("reduction", ProbabilisticTransfer.reductions)
def test_gradient_is_the_difference_quotient(reduction, value_and_gradient):
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(5, 4)), random.normal(size=(5, 3))
    weight = random.uniform(0, 3, 5)
    _, gradient = value_and_gradient(
        lambda x: ProbabilisticTransfer(reduction)(teacher, x, weight), np.float32(student)
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


@pytest.mark.parametrize("reduction", ProbabilisticTransfer.reductions)
@pytest.mark.parametrize("student", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_batches_are_finite(student, reduction, value_and_gradient):
    student = np.float32(student)
    loss = ProbabilisticTransfer(reduction)
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


@pytest.mark.parametrize("reduction", ProbabilisticTransfer.reductions)
def test_rows_of_weight_zero_have_no_part(reduction, value_and_gradient):
    random = np.random.default_rng(0)
    teacher, student, other = np.float32(random.normal(size=(3, 5, 4)))
    weight = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    kept = weight > 0
    loss = ProbabilisticTransfer(reduction)
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
    loss = ProbabilisticTransfer()(teacher, student)
    assert loss.dtype == "float32"
    np.testing.assert_allclose(loss, naive(teacher, tf.cast(student, "float64")), rtol=1e-4)


def test_teacher_gets_no_gradient():
    teacher, student = tf.random.normal((2, 4, 3), seed=0)
    with tf.GradientTape() as tape:
        tape.watch([teacher, student])
        value = ProbabilisticTransfer()(teacher, student)
    to_teacher, to_student = tape.gradient(value, [teacher, student])
    assert to_teacher is None
    assert np.abs(to_student).max() > 0


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_of_unknown_batch_size(jit_compile):
    signature = [tf.TensorSpec([None, 4]), tf.TensorSpec([None, 3])]
    loss = tf.function(ProbabilisticTransfer(), jit_compile=jit_compile, input_signature=signature)
    for rows in (3, 5):
        random = np.random.default_rng(rows)
        teacher = np.float32(random.normal(size=(rows, 4)))
        student = np.float32(random.normal(size=(rows, 3)))
        np.testing.assert_allclose(loss(teacher, student), naive(teacher, student), rtol=1e-4)


@pytest.mark.parametrize("reduction", ProbabilisticTransfer.reductions)
def test_config_round_trip(reduction):
    loss = ProbabilisticTransfer(reduction, name="own")
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    copy = keras.saving.deserialize_keras_object(serialized)
    assert type(copy) is ProbabilisticTransfer
    assert copy.get_config() == loss.get_config() == {"reduction": reduction, "name": "own"}
    assert ProbabilisticTransfer().name == "pkt"
