import json
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_distill import InputError
from keras_distill.losses.labels.asymmetric_softmax_loss import AsymmetricSoftmaxLoss

GOLDEN = Path(__file__).parents[2] / "golden"
CASES = sorted(path.stem for path in GOLDEN.glob("asl__single_*"))


def naive(labels, logits, weights, *, focus=None, positive=0, negative=4, smoothing=0.1):
    total, classes = 0.0, logits.shape[1]
    for i, label in enumerate(labels):
        if label < 0:
            continue
        log_p = logits[i] - np.logaddexp.reduce(logits[i])
        for c in range(classes):
            q = (1 - smoothing) * (c == label) + smoothing / classes
            others = sum(np.exp(log_p[o]) for o in range(classes) if o != label)
            w = others**positive if c == label else np.exp(negative * log_p[c])
            total -= weights[i] * q * w * log_p[c]
    return total, sum(label >= 0 for label in labels)


def labels_of(random, rows):
    return random.integers(-1, 5, rows)


@pytest.mark.parametrize("case", CASES)
def test_reference(case, golden, value_and_gradient):
    arrays = golden(case)
    params = json.loads(str(arrays["params_json"]))
    reduction = "mean" if params["reduction"] == "mean" else "sum"
    loss = AsymmetricSoftmaxLoss(params["gamma_pos"], params["gamma_neg"], params["eps"], reduction)
    value, gradient = value_and_gradient(lambda x: loss(arrays["labels"], x), arrays["logits"])
    expected = arrays["loss_f64"].sum()
    np.testing.assert_allclose(value, expected, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, arrays["grad_logits_f64"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("positive", "negative", "smoothing"), [(0, 4, 0.1), (2, 4, 0.1), (0.5, 1.5, 0.0), (1, 0, 0.3)]
)
def test_contract(label_contract, positive, negative, smoothing):
    label_contract(
        AsymmetricSoftmaxLoss,
        partial(naive, positive=positive, negative=negative, smoothing=smoothing),
        labels_of,
        arguments={
            "gamma_positive": positive,
            "gamma_negative": negative,
            "label_smoothing": smoothing,
        },
        types=("int8", "int32", "float32"),
    )


def test_plain_keras_model(plain_keras_model):
    plain_keras_model(AsymmetricSoftmaxLoss, naive, labels_of)


def test_without_smoothing_and_focusing_it_is_the_cross_entropy_of_keras(value_and_gradient):
    random = np.random.default_rng(0)
    logits, labels = np.float32(random.normal(size=(7, 4)) * 3), random.integers(0, 4, 7)
    ours = AsymmetricSoftmaxLoss(label_smoothing=0.0)
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    value, gradient = value_and_gradient(lambda x: ours(labels, x), logits)
    expected, slope = value_and_gradient(lambda x: theirs(labels, x), logits)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_unlabelled_rows_count_for_nothing(reduction, value_and_gradient):
    random = np.random.default_rng(0)
    logits, labels = np.float32(random.normal(size=(6, 4))), np.array([-1, 2, 0, -1, 3, -1])
    loss = AsymmetricSoftmaxLoss(reduction=reduction)
    value, gradient = value_and_gradient(lambda x: loss(labels, x), logits)
    known = labels >= 0
    np.testing.assert_allclose(value, loss(labels[known], logits[known]), rtol=1e-6)
    np.testing.assert_array_equal(gradient[~known], 0)
    assert np.abs(gradient[known]).max() > 0
    value, gradient = value_and_gradient(lambda x: loss([-1] * 6, x), logits)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("gamma_positive", [0, 0.5, 1, 2])
def test_one_class_is_always_right(gamma_positive, value_and_gradient):
    loss = AsymmetricSoftmaxLoss(gamma_positive)
    value, gradient = value_and_gradient(lambda x: loss([0, 0], x), np.float32([[3.0], [-100.0]]))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_labels_beyond_the_classes_are_not_hidden():
    assert np.isnan(AsymmetricSoftmaxLoss()([0, 2], np.zeros((2, 2))))


def test_one_hot_labels_are_refused():
    with pytest.raises(InputError, match=r"`labels` have shape \(2, 2\) .* give labels \(batch,\)"):
        AsymmetricSoftmaxLoss()(np.eye(2), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma_positive": -1}, "`gamma_positive=-1` must be 0 or more"),
        ({"gamma_negative": -1}, "`gamma_negative=-1` must be 0 or more"),
        ({"label_smoothing": 1.0}, "`label_smoothing=1.0` must be at least 0 and below 1"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(InputError, match=f"^AsymmetricSoftmaxLoss: {message}"):
        AsymmetricSoftmaxLoss(**arguments)
