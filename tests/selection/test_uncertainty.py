import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.selection.uncertainty import uncertainty


def logits(classes=4, seed=0):
    return np.random.default_rng(seed).normal(size=(20, classes)) * 3


def test_softmax_of_a_naive_loop():
    for row, entropy, margin in zip(
        logits(),
        uncertainty(logits()),
        uncertainty(logits(), measure="margin"),
        strict=True,
    ):
        p = np.exp(row) / np.exp(row).sum()
        assert entropy == pytest.approx(-sum(q * np.log(q) for q in p) / np.log(4))
        first, second = sorted(p, reverse=True)[:2]
        assert margin == pytest.approx(1 - (first - second))


def test_sigmoid_of_a_naive_loop():
    for row, entropy, margin in zip(
        logits(),
        uncertainty(logits(), activation="sigmoid"),
        uncertainty(logits(), activation="sigmoid", measure="margin"),
        strict=True,
    ):
        p = 1 / (1 + np.exp(-row))
        bits = [-q * np.log2(q) - (1 - q) * np.log2(1 - q) for q in p]
        assert entropy == pytest.approx(np.mean(bits))
        assert margin == pytest.approx(max(1 - abs(2 * q - 1) for q in p))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("measure", ["entropy", "margin"])
def test_extreme_logits(activation, measure):
    values = uncertainty(
        np.array([[1e4, -1e4], [0.0, 0.0], [-1e4, 1e4]]), activation=activation, measure=measure
    )
    np.testing.assert_allclose(values, [0, 1, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (np.zeros((2, 1)), {}, "of one class"),
        (np.zeros(2), {}, "must be finite numbers, .images, classes."),
        (np.array([[0, np.inf]]), {}, "must be finite"),
        (np.zeros((2, 2)), {"measure": "x"}, "`measure='x'` is unknown; give entropy or margin"),
        (np.zeros((2, 2)), {"activation": "x"}, "`activation='x'` is unknown"),
    ],
)
def test_unusable_arguments_are_refused(values, options, said):
    with pytest.raises(InputError, match=said):
        uncertainty(values, **options)
