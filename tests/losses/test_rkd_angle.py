from pathlib import Path

import numpy as np
import pytest

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


def test_contract(teacher_contract):
    teacher_contract(RkdAngle, naive, name="rkd_angle", min_width=2, atol=1e-4)
