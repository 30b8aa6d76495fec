import numpy as np
import pytest

from keras_distill.losses.asymmetric_teacher import AsymmetricTeacher


def unit(row):
    length = np.linalg.norm(row)
    return row / length if length else row


def naive(teacher, student, *, reduction="mean", sample_weight=None, cross=0.77, own=0.67):
    teacher = [unit(row) for row in np.float64(teacher)]
    student = [unit(row) for row in np.float64(student)]
    n = len(student)
    weight = np.ones(n) if sample_weight is None else sample_weight
    same = pairs = 0.0
    for i in range(n):
        same += weight[i] * (1 - student[i] @ teacher[i]) ** 2
        for j in range(n):
            if i != j:
                expected = teacher[i] @ teacher[j]
                pair = cross * (student[i] @ teacher[j] - expected) ** 2
                pair += own * (student[i] @ student[j] - expected) ** 2
                pairs += weight[i] * weight[j] * pair
    return same / n + pairs / max(n * (n - 1), 1) if reduction == "mean" else same + pairs


def test_contract(teacher_contract):
    teacher_contract(AsymmetricTeacher, naive, name="asymmetric", equal_widths=True)


def test_weights_of_the_terms():
    teacher, student = np.random.default_rng(0).normal(size=(2, 6, 4))
    for cross, own in ((0.0, 0.0), (2.0, 0.0), (0.0, 3.0)):
        value = AsymmetricTeacher(cross, own)(teacher, student)
        np.testing.assert_allclose(value, naive(teacher, student, cross=cross, own=own), rtol=1e-4)


def test_different_widths():
    with pytest.raises(ValueError, match=r"width 5, the student's 3.*embedding_dim=5"):
        AsymmetricTeacher()(np.ones((2, 5)), np.ones((2, 3)))


def test_lengths_do_not_matter():
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(2, 8, 5))
    lengths = random.uniform(0.1, 10, size=(8, 1))
    np.testing.assert_allclose(
        AsymmetricTeacher()(lengths * teacher, student / lengths),
        AsymmetricTeacher()(teacher, student),
        rtol=1e-5,
    )
