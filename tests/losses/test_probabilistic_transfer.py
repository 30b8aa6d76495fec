from pathlib import Path

import numpy as np

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


def test_contract(teacher_contract):
    teacher_contract(ProbabilisticTransfer, naive, name="pkt", min_width=3)
