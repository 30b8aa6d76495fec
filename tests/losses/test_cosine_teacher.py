import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_distill.losses.cosine_teacher import CosineTeacher

GOLDEN = Path(__file__).parents[1] / "golden"


def naive(teacher, student, *, reduction="mean", sample_weight=None):
    n = len(student)
    weight = np.ones(n) if sample_weight is None else sample_weight
    total = 0.0
    for w, t, s in zip(weight, np.float64(teacher), np.float64(student), strict=True):
        lengths = np.linalg.norm(t) * np.linalg.norm(s)
        total += w * (1 - (t @ s / lengths if lengths else 0))
    return total / n if reduction == "mean" else total


def test_different_widths():
    with pytest.raises(ValueError, match=r"width 5, the student's 3.*embedding_dim=5.*Relative"):
        CosineTeacher()(np.ones((2, 5)), np.ones((2, 3)))
    assert CosineTeacher.needs_equal_widths


def test_lengths_do_not_matter():
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(2, 8, 5))
    lengths = random.uniform(0.1, 10, size=(8, 1))
    value = CosineTeacher()(teacher, student)
    np.testing.assert_allclose(
        CosineTeacher()(lengths * teacher, student / lengths), value, rtol=1e-5
    )
    np.testing.assert_allclose(CosineTeacher()(lengths * student, student), 0, atol=1e-6)


def test_keras_cosine_similarity():
    teacher, student = np.random.default_rng(0).normal(size=(2, 8, 5))
    expected = 1 + keras.losses.CosineSimilarity()(teacher, student)
    np.testing.assert_allclose(CosineTeacher()(teacher, student), expected, rtol=1e-5)


def test_half_of_kde(value_and_gradient):
    golden = np.load(GOLDEN / "headkd__kde_seed0.npz")
    value, gradient = value_and_gradient(
        lambda x: CosineTeacher("sum")(golden["emb_t"], x), golden["emb_s"]
    )
    np.testing.assert_allclose(2 * value, golden["loss_f64"], rtol=2e-5)
    np.testing.assert_allclose(2 * gradient, golden["grad_emb_s_f64"], rtol=1e-4, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 7),
    dim=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_loops(n, dim, seed):
    random = np.random.default_rng(seed)
    teacher, student = np.float32(random.normal(size=(2, n, dim)))
    weight = random.uniform(0, 3, n)
    for reduction in CosineTeacher.reductions:
        for sample_weight in (None, weight):
            np.testing.assert_allclose(
                CosineTeacher(reduction)(teacher, student, sample_weight),
                naive(teacher, student, reduction=reduction, sample_weight=sample_weight),
                rtol=1e-4,
                atol=1e-5,
            )


@pytest.mark.parametrize("reduction", CosineTeacher.reductions)
def test_gradient_is_the_difference_quotient(reduction, value_and_gradient):
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(5, 4)), random.normal(size=(5, 4))
    weight = random.uniform(0, 3, 5)
    _, gradient = value_and_gradient(
        lambda x: CosineTeacher(reduction)(teacher, x, weight), np.float32(student)
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


@pytest.mark.parametrize("reduction", CosineTeacher.reductions)
@pytest.mark.parametrize("student", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_batches_are_finite(student, reduction, value_and_gradient):
    student = np.float32(student)
    loss = CosineTeacher(reduction)
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


@pytest.mark.parametrize("reduction", CosineTeacher.reductions)
def test_rows_of_weight_zero_have_no_part(reduction, value_and_gradient):
    random = np.random.default_rng(0)
    teacher, student, other = np.float32(random.normal(size=(3, 5, 4)))
    weight = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    kept = weight > 0
    loss = CosineTeacher(reduction)
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
    loss = CosineTeacher()(teacher, student)
    assert loss.dtype == "float32"
    np.testing.assert_allclose(loss, naive(teacher, tf.cast(student, "float64")), rtol=1e-4)


def test_teacher_gets_no_gradient():
    teacher, student = tf.random.normal((2, 4, 3), seed=0)
    with tf.GradientTape() as tape:
        tape.watch([teacher, student])
        value = CosineTeacher()(teacher, student)
    to_teacher, to_student = tape.gradient(value, [teacher, student])
    assert to_teacher is None
    assert np.abs(to_student).max() > 0


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_of_unknown_batch_size(jit_compile):
    signature = [tf.TensorSpec([None, 4]), tf.TensorSpec([None, 4])]
    loss = tf.function(CosineTeacher(), jit_compile=jit_compile, input_signature=signature)
    for rows in (3, 5):
        random = np.random.default_rng(rows)
        teacher = np.float32(random.normal(size=(rows, 4)))
        student = np.float32(random.normal(size=(rows, 4)))
        np.testing.assert_allclose(loss(teacher, student), naive(teacher, student), rtol=1e-4)


@pytest.mark.parametrize("reduction", CosineTeacher.reductions)
def test_config_round_trip(reduction):
    loss = CosineTeacher(reduction, name="own")
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    copy = keras.saving.deserialize_keras_object(serialized)
    assert type(copy) is CosineTeacher
    assert copy.get_config() == loss.get_config() == {"reduction": reduction, "name": "own"}
    assert CosineTeacher().name == "cosine"
