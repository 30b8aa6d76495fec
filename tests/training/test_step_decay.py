import keras
import pytest

from keras_distill.training.step_decay import StepDecay


def test_drops_and_warmup():
    rate = StepDecay(0.4, [10, 30], 0.5, warmup_steps=20)
    steps = [0, 5, 9, 10, 15, 20, 29, 30, 99]
    expected = [0.0, 0.1, 0.18, 0.1, 0.15, 0.2, 0.2, 0.1, 0.1]
    assert [float(rate(step)) for step in steps] == pytest.approx(expected)


def test_no_drop():
    assert float(StepDecay(0.4, [])(7)) == pytest.approx(0.4)


def test_it_is_kept_with_an_optimizer():
    optimizer = keras.optimizers.Adam(StepDecay(0.4, [2], 0.25, 1))
    again = keras.optimizers.Adam.from_config(optimizer.get_config())
    again.iterations.assign(2)
    assert float(again.learning_rate) == pytest.approx(0.1)
