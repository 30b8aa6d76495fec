import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.losses.label_distillation import LabelDistillation


def naive(teacher, student, *, reduction="mean", sample_weight=None, temperature=1.0):
    total = 0.0
    teacher, student = np.float64(teacher), np.float64(student)
    for i, (ts, ss) in enumerate(zip(teacher, student, strict=True)):
        for t, s in zip(ts, ss, strict=True):
            p, q = (1 / (1 + np.exp(-x / temperature)) for x in (t, s))
            value = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
            total += temperature**2 * value * (1.0 if sample_weight is None else sample_weight[i])
    return total / student.size if reduction == "mean" else total


def test_contract(teacher_contract):
    teacher_contract(LabelDistillation, naive, name="label_distillation", equal_widths=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_temperature(temperature):
    teacher, student = np.float32(np.random.default_rng(0).normal(size=(2, 5, 3))) * 3
    value = LabelDistillation(temperature)(teacher, student)
    np.testing.assert_allclose(value, naive(teacher, student, temperature=temperature), rtol=1e-5)


def test_gradient_is_that_of_cross_entropy(value_and_gradient):
    teacher, student = np.float32(np.random.default_rng(0).normal(size=(2, 5, 3)))
    _, gradient = value_and_gradient(lambda x: LabelDistillation()(teacher, x), student)
    p, q = (1 / (1 + np.exp(-x)) for x in (teacher, student))
    np.testing.assert_allclose(gradient, (q - p) / 15, rtol=1e-4, atol=1e-6)


def test_extreme_logits_are_finite(value_and_gradient):
    far = np.float32([[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4]])
    for teacher in (far, -far, np.zeros((3, 2))):
        value, gradient = value_and_gradient(lambda x, t=teacher: LabelDistillation()(t, x), far)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    np.testing.assert_allclose(LabelDistillation()(-far, far), 1e4, rtol=1e-5)


def test_unusable_arguments():
    with pytest.raises(InputError, match="LabelDistillation: `temperature=0` must be positive"):
        LabelDistillation(0)
