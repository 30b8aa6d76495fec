import json
from pathlib import Path

import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.losses.logits_teacher import LogitsTeacher

GOLDEN = Path(__file__).parents[1] / "golden"


def naive(teacher, student, *, reduction="mean", sample_weight=None, temperature=4.0):
    total = 0.0
    teacher, student = np.float64(teacher), np.float64(student)
    for i, (ts, ss) in enumerate(zip(teacher, student, strict=True)):
        weight = 1.0 if sample_weight is None else sample_weight[i]
        of_t = sum(np.exp(t / temperature) for t in ts)
        of_s = sum(np.exp(s / temperature) for s in ss)
        for t, s in zip(ts, ss, strict=True):
            p = np.exp(t / temperature) / of_t
            q = np.exp(s / temperature) / of_s
            total += weight * temperature**2 * p * np.log(p / q)
    return total / len(student) if reduction == "mean" else total


@pytest.mark.parametrize(
    "case", sorted(path.stem for path in GOLDEN.glob("headkd__distillkl_*.npz"))
)
def test_reference(case, value_and_gradient):
    golden = np.load(GOLDEN / f"{case}.npz")
    loss = LogitsTeacher(json.loads(str(golden["params_json"]))["T"])
    value, gradient = value_and_gradient(lambda x: loss(golden["y_t"], x), golden["y_s"])
    np.testing.assert_allclose(value, golden["loss_f64"], rtol=2e-5)
    np.testing.assert_allclose(gradient, golden["grad_y_s_f64"], rtol=1e-4, atol=1e-6)


def test_contract(teacher_contract):
    teacher_contract(LogitsTeacher, naive, name="kd", equal_widths=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 20.0])
def test_temperature(temperature):
    teacher, student = np.float32(np.random.default_rng(0).normal(size=(2, 5, 3))) * 3
    value = LogitsTeacher(temperature)(teacher, student)
    np.testing.assert_allclose(value, naive(teacher, student, temperature=temperature), rtol=1e-5)


def test_extreme_logits_are_finite(value_and_gradient):
    far = np.float32([[1e4, -1e4, 0], [-1e4, 1e4, 0], [1e4, 1e4, 1e4]])
    for teacher in (far, -far, np.zeros((3, 3))):
        value, gradient = value_and_gradient(lambda x, t=teacher: LogitsTeacher()(t, x), far)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf")])
def test_unusable_arguments(temperature):
    with pytest.raises(InputError, match=r"LogitsTeacher: `temperature=.*` must be positive"):
        LogitsTeacher(temperature)
