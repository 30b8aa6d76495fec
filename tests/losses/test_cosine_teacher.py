from pathlib import Path

import keras
import numpy as np
import pytest

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


def test_contract(teacher_contract):
    teacher_contract(CosineTeacher, naive, name="cosine", equal_widths=True)
