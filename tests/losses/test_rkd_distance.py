import numpy as np

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


def test_contract(teacher_contract):
    teacher_contract(RkdDistance, naive, name="rkd_distance", min_width=2)
