import math

import keras
import pytest

from keras_distill.errors import InputError
from keras_distill.training.one_cycle import OneCycle


def naive(step, peak, steps, rise=0.3, start_divisor=25.0, end_divisor=1e4):
    """OneCycleLR of PyTorch, cosine, two phases."""
    start = peak / start_divisor
    end = start / end_divisor
    phases = [(0, rise * steps - 1, start, peak), (rise * steps - 1, steps - 1, peak, end)]
    for first, last, a, b in phases:
        if step <= last or last == steps - 1:
            share = (step - first) / (last - first)
            return b + (a - b) / 2 * (math.cos(math.pi * share) + 1)
    raise AssertionError


@pytest.mark.parametrize(
    "arguments",
    [
        {"peak": 1e-4, "steps": 100},
        {"peak": 0.4, "steps": 7, "rise": 0.5},
        {"peak": 2e-4, "steps": 1000, "rise": 0.2, "start_divisor": 10.0, "end_divisor": 50.0},
        {"peak": 1.0, "steps": 10, "rise": 0.01},  # no step rises
        {"peak": 1.0, "steps": 25, "rise": 0.96, "start_divisor": 4.0},
    ],
)
def test_formula(arguments):
    rate = OneCycle(**arguments)
    for step in range(arguments["steps"]):
        expected = naive(step, **arguments)
        tolerance = arguments["peak"] * 1e-6
        assert float(rate(step)) == pytest.approx(expected, rel=1e-4, abs=tolerance)


def test_ends():
    rate = OneCycle(0.5, 100, 0.2, start_divisor=5.0, end_divisor=100.0)
    assert float(rate(0)) == pytest.approx(0.1)
    assert float(rate(19)) == pytest.approx(0.5)
    assert float(rate(99)) == pytest.approx(0.001)
    assert float(rate(100)) == float(rate(10_000)) == pytest.approx(0.001)
    assert float(OneCycle(0.5, 1)(0)) <= 0.5


def test_it_is_kept_with_an_optimizer():
    optimizer = keras.optimizers.Adam(OneCycle(0.4, 50, 0.4, 10.0, 20.0))
    again = keras.optimizers.Adam.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
    for step in (0, 11, 30, 49):
        again.iterations.assign(step)
        assert float(again.learning_rate) == pytest.approx(naive(step, 0.4, 50, 0.4, 10.0, 20.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "`steps=0` must be positive"),
        ({"rise": 0.0}, r"`rise=0.0` must be above 0 and below 1, such as 0.3"),
        ({"rise": 1.0}, r"`rise=1.0` must be above 0"),
        ({"start_divisor": 0.0}, r"`start_divisor=0.0` must be positive"),
        ({"end_divisor": -1.0}, r"`end_divisor=-1.0` must be positive"),
    ],
)
def test_unusable_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        OneCycle(**{"peak": 1.0, "steps": 10, **arguments})
