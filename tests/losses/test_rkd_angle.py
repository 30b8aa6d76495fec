import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_distill.losses.rkd_angle import RkdAngle
from keras_distill.losses.rkd_distance import RkdDistance

GOLDEN = Path(__file__).parents[1] / "golden"


def huber(x):
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def cosine(a, b):
    return a @ b / (max(np.linalg.norm(a), 1e-12) * max(np.linalg.norm(b), 1e-12))


def naive(teacher, student, *, reduction="mean", sample_weight=None):
    n = len(student)
    w = np.ones(n) if sample_weight is None else sample_weight
    t, s = np.float64(teacher), np.float64(student)
    total = 0.0
    for i in range(n):
        for j in range(n):
            for k in range(n):
                a_teacher = cosine(t[j] - t[i], t[k] - t[i])
                a_student = cosine(s[j] - s[i], s[k] - s[i])
                total += w[i] * w[j] * w[k] * huber(a_student - a_teacher)
    return total / n**3 if reduction == "mean" else total


def test_reference(value_and_gradient):
    golden = np.load(GOLDEN / "relational__rkd_seed0.npz")  # holds the sum of both losses

    def both(x):
        distance, angle = (loss(golden["emb_t"], x) for loss in (RkdDistance(), RkdAngle()))
        return 25 * distance + 50 * angle

    value, gradient = value_and_gradient(both, golden["emb_s"])
    np.testing.assert_allclose(value, golden["loss_f64"], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, golden["grad_emb_s_f64"], rtol=1e-4, atol=1e-5)


def test_scales_origins_and_rotations_do_not_matter():
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(8, 6)), random.normal(size=(8, 3))
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    value = RkdAngle()(teacher, student)
    np.testing.assert_allclose(RkdAngle()(7 * teacher + 2, student), value, rtol=1e-4)
    np.testing.assert_allclose(RkdAngle()(teacher, 0.01 * student - 3), value, rtol=1e-3)
    np.testing.assert_allclose(RkdAngle()(teacher, student @ rotation), value, rtol=1e-4)
    np.testing.assert_allclose(RkdAngle()(student, 5 * student @ rotation), 0, atol=1e-9)


def test_equilateral_and_straight():
    line, triangle = [[0.0], [1.0], [2.0]], np.eye(3)
    # Cosines 1, -1, 1 against 1/2 at each vertex, twice each; the differences are 1/2, 3/2, 1/2.
    expected = 2 * (0.125 + 1.0 + 0.125) / 27
    np.testing.assert_allclose(RkdAngle()(line, triangle), expected, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e3])
def test_scale_of_a_finite_gradient(scale, value_and_gradient):
    random = np.random.default_rng(0)
    teacher, student = np.float32(random.normal(size=(2, 6, 4)))
    _, expected = value_and_gradient(lambda x: RkdAngle()(teacher, x), student)
    value, gradient = value_and_gradient(
        lambda x: RkdAngle()(teacher, x), np.float32(scale) * student
    )
    np.testing.assert_allclose(value, RkdAngle()(teacher, student), rtol=1e-4)
    np.testing.assert_allclose(gradient * scale, expected, rtol=1e-3, atol=1e-5)


def test_nearly_collapsed_student_is_measured_precisely():
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(8, 6)), 1 + 1e-4 * random.normal(size=(8, 3))
    student = np.float32(student)
    np.testing.assert_allclose(RkdAngle()(teacher, student), naive(teacher, student), rtol=1e-4)


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
    for reduction in RkdAngle.reductions:
        for sample_weight in (None, weight):
            np.testing.assert_allclose(
                RkdAngle(reduction)(teacher, student, sample_weight),
                naive(teacher, student, reduction=reduction, sample_weight=sample_weight),
                rtol=1e-4,
                atol=1e-4,
            )


@pytest.mark.parametrize("reduction", RkdAngle.reductions)
def test_gradient_is_the_difference_quotient(reduction, value_and_gradient):
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(5, 4)), random.normal(size=(5, 3))
    weight = random.uniform(0, 3, 5)
    _, gradient = value_and_gradient(
        lambda x: RkdAngle(reduction)(teacher, x, weight), np.float32(student)
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


@pytest.mark.parametrize("reduction", RkdAngle.reductions)
@pytest.mark.parametrize("student", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_batches_are_finite(student, reduction, value_and_gradient):
    student = np.float32(student)
    loss = RkdAngle(reduction)
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


@pytest.mark.parametrize("reduction", RkdAngle.reductions)
def test_rows_of_weight_zero_have_no_part(reduction, value_and_gradient):
    random = np.random.default_rng(0)
    teacher, student, other = np.float32(random.normal(size=(3, 5, 4)))
    weight = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    kept = weight > 0
    loss = RkdAngle(reduction)
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
    loss = RkdAngle()(teacher, student)
    assert loss.dtype == "float32"
    np.testing.assert_allclose(loss, naive(teacher, tf.cast(student, "float64")), rtol=1e-4)


def test_teacher_gets_no_gradient():
    teacher, student = tf.random.normal((2, 4, 3), seed=0)
    with tf.GradientTape() as tape:
        tape.watch([teacher, student])
        value = RkdAngle()(teacher, student)
    to_teacher, to_student = tape.gradient(value, [teacher, student])
    assert to_teacher is None
    assert np.abs(to_student).max() > 0


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_of_unknown_batch_size(jit_compile):
    signature = [tf.TensorSpec([None, 4]), tf.TensorSpec([None, 3])]
    loss = tf.function(RkdAngle(), jit_compile=jit_compile, input_signature=signature)
    for rows in (3, 5):
        random = np.random.default_rng(rows)
        teacher = np.float32(random.normal(size=(rows, 4)))
        student = np.float32(random.normal(size=(rows, 3)))
        np.testing.assert_allclose(loss(teacher, student), naive(teacher, student), rtol=1e-4)


@pytest.mark.parametrize("reduction", RkdAngle.reductions)
def test_config_round_trip(reduction):
    loss = RkdAngle(reduction, name="own")
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    copy = keras.saving.deserialize_keras_object(serialized)
    assert type(copy) is RkdAngle
    assert copy.get_config() == loss.get_config() == {"reduction": reduction, "name": "own"}
    assert RkdAngle().name == "rkd_angle"
