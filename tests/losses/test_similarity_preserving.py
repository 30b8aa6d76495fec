from pathlib import Path

import numpy as np

from keras_distill.losses.similarity_preserving import SimilarityPreserving

GOLDEN = Path(__file__).parents[1] / "golden"


def similarities(rows, weight):
    n = len(rows)
    result = np.zeros((n, n))
    for i in range(n):
        products = [rows[i] @ rows[j] for j in range(n)]
        length = np.sqrt(sum(w * p**2 for w, p in zip(weight, products, strict=True)))
        result[i] = np.array(products) / max(length, 1e-12)
    return result


def naive(teacher, student, *, reduction="mean", sample_weight=None):
    n = len(student)
    weight = np.ones(n) if sample_weight is None else sample_weight
    g_teacher = similarities(np.float64(teacher), weight)
    g_student = similarities(np.float64(student), weight)
    total = 0.0
    for i in range(n):
        for j in range(n):
            total += weight[i] * weight[j] * (g_student[i, j] - g_teacher[i, j]) ** 2
    return total / n**2 if reduction == "mean" else total


def test_reference(value_and_gradient):
    golden = np.load(GOLDEN / "relational__sp_seed0.npz")
    value, gradient = value_and_gradient(
        lambda x: SimilarityPreserving()(golden["emb_t"], x), golden["emb_s"]
    )
    np.testing.assert_allclose(value, golden["loss_f64"], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, golden["grad_emb_s_f64"], rtol=1e-4, atol=1e-6)


def test_scales_and_rotations_do_not_matter_but_the_origin_does():
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(8, 6)), random.normal(size=(8, 3))
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    loss = SimilarityPreserving()
    value = loss(teacher, student)
    np.testing.assert_allclose(loss(7 * teacher, student), value, rtol=1e-5)
    np.testing.assert_allclose(loss(teacher, 0.01 * student @ rotation), value, rtol=1e-4)
    np.testing.assert_allclose(loss(student, 5 * student @ rotation), 0, atol=1e-9)
    assert abs(loss(teacher, student + 3) - value) > 0.1 * value


def test_weight_counts_equal_rows():
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(3, 6)), random.normal(size=(3, 4))
    loss = SimilarityPreserving("sum")
    repeated = loss(*(np.repeat(rows, [2, 1, 3], axis=0) for rows in (teacher, student)))
    np.testing.assert_allclose(loss(teacher, student, [2, 1, 3]), repeated, rtol=1e-5)


def test_contract(teacher_contract):
    teacher_contract(SimilarityPreserving, naive, name="similarity")
