from pathlib import Path

import numpy as np
import pytest

from keras_distill.losses.kde_teacher import KdeTeacher

GOLDEN = Path(__file__).parents[1] / "golden"


def naive(teacher, student, *, reduction="sum", sample_weight=None):
    n = len(student)
    weight = np.ones(n) if sample_weight is None else sample_weight
    total = 0.0
    for w, t, s in zip(weight, np.float64(teacher), np.float64(student), strict=True):
        t, s = (v / max(np.linalg.norm(v), 1e-12) for v in (t, s))
        total += w * sum((b - a) ** 2 for a, b in zip(t, s, strict=True))
    return total / n if reduction == "mean" else total


def test_reference(value_and_gradient):
    golden = np.load(GOLDEN / "headkd__kde_seed0.npz")
    value, gradient = value_and_gradient(
        lambda x: KdeTeacher()(golden["emb_t"], x), golden["emb_s"]
    )
    np.testing.assert_allclose(value, golden["loss_f64"], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, golden["grad_emb_s_f64"], rtol=1e-4, atol=1e-6)


def test_reference_with_a_zero_vector(value_and_gradient):
    golden = np.load(GOLDEN / "headkd__kde_zero_vector.npz")
    value, gradient = value_and_gradient(
        lambda x: KdeTeacher()(golden["emb_t"], x), golden["emb_s"]
    )
    np.testing.assert_allclose(value, golden["loss_f64"], rtol=2e-5)
    np.testing.assert_allclose(gradient[1:], golden["grad_emb_s_f64"][1:], rtol=1e-4, atol=1e-6)
    assert (np.abs(golden["grad_emb_s_f64"][0]) > 1e11).all()  # of no use for a step
    np.testing.assert_array_equal(gradient[0], 0)


def test_different_widths():
    with pytest.raises(ValueError, match=r"width 5, the student's 3.*embedding_dim=5.*Relative"):
        KdeTeacher()(np.ones((2, 5)), np.ones((2, 3)))
    assert KdeTeacher.needs_equal_widths


def test_lengths_do_not_matter():
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(2, 8, 5))
    lengths = random.uniform(0.1, 10, size=(8, 1))
    value = KdeTeacher()(teacher, student)
    np.testing.assert_allclose(KdeTeacher()(lengths * teacher, student / lengths), value, rtol=1e-5)
    np.testing.assert_allclose(KdeTeacher()(lengths * student, student), 0, atol=1e-6)


def test_contract(teacher_contract):
    teacher_contract(KdeTeacher, naive, name="kde", equal_widths=True)
