import json
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill import InputError
from keras_distill.losses.labels.asymmetric_loss import AsymmetricLoss

GOLDEN = Path(__file__).parents[2] / "golden"
CASES = sorted(path.stem for path in GOLDEN.glob("asl__multi_*"))


def naive(targets, logits, weights, *, focus=None, detach=True, positive=1, negative=4, clip=0.05):
    focus = logits if focus is None or not detach else focus
    total = 0.0
    for i, j in np.ndindex(logits.shape):
        y, x, f = float(targets[i, j]), logits[i, j], focus[i, j]
        p, p_f = np.exp(-np.logaddexp(0, -x)), np.exp(-np.logaddexp(0, -f))
        loss = y * np.logaddexp(0, -x)
        loss += (1 - y) * (-np.log1p(-max(p - clip, 0)) if clip else np.logaddexp(0, x))
        error = y * (1 - p_f) + (1 - y) * max(p_f - clip, 0)
        total += weights[i] * loss * error ** (y * positive + (1 - y) * negative)
    return total, logits.size


def hard(random, rows):
    return random.integers(0, 2, (rows, 5)).astype("int8")


def soft(random, rows):
    return np.float32(random.choice([0.0, 0.25, 0.9, 1.0], (rows, 5)))


def loss_of(golden, **others):
    params = json.loads(str(golden["params_json"]))
    return AsymmetricLoss(
        params["gamma_pos"],
        params["gamma_neg"],
        params["clip"],
        params["disable_torch_grad_focal_loss"],
        **{"epsilon": params["eps"], **others},
    )


@pytest.mark.parametrize("case", CASES)
def test_reference(case, golden, value_and_gradient):
    arrays = golden(case)
    loss, targets = loss_of(arrays), arrays["targets"]
    for dtype in ("float32",) if "soft" in case else ("float32", "int8"):
        value, gradient = value_and_gradient(
            partial(call, loss, targets.astype(dtype), None), arrays["logits"]
        )
        np.testing.assert_allclose(value, arrays["loss_f64"], rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(gradient, arrays["grad_logits_f64"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("targets", [hard, soft])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"detach": False},
        {"detach": False, "positive": 0.5, "negative": 1.5, "clip": 0.0},
    ],
    ids=["default", "not detached", "fractions"],
)
def test_contract(label_contract, targets, arguments):
    names = {
        "detach": "detach_focusing",
        "positive": "gamma_positive",
        "negative": "gamma_negative",
        "clip": "clip",
    }
    label_contract(
        AsymmetricLoss,
        partial(naive, **arguments),
        targets,
        arguments={names[name]: value for name, value in arguments.items()},
        types=("int32", "int64", "bool", "float16", "float32") if targets is hard else ("float64",),
    )


def test_plain_keras_model(plain_keras_model):
    plain_keras_model(AsymmetricLoss, naive, hard)


@pytest.mark.parametrize("targets", ["int8", "float32"])
def test_cross_entropy_and_focal_loss_are_those_of_keras(targets, value_and_gradient):
    random = np.random.default_rng(0)
    logits = np.float32(random.normal(size=(6, 5)) * 3)
    y = random.integers(0, 2, (6, 5)).astype(targets)
    weights = random.uniform(0, 3, 6)
    for ours, theirs in (
        (
            AsymmetricLoss(0, 0, clip=0, reduction="mean"),
            keras.losses.BinaryCrossentropy(from_logits=True),
        ),
        (
            AsymmetricLoss(2, 2, clip=0, detach_focusing=False, reduction="mean"),
            keras.losses.BinaryFocalCrossentropy(gamma=2, from_logits=True),
        ),
    ):
        for given in (None, weights):
            value, gradient = value_and_gradient(partial(call, ours, y, given), logits)
            expected, slope = value_and_gradient(partial(call, theirs, y, given), logits)
            np.testing.assert_allclose(value, expected, rtol=1e-5)
            np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-7)


def call(loss, targets, weights, logits):
    return loss(targets, logits, weights)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("gammas", [(0, 0), (1, 4), (0.5, 0.5), (0, 0.01)])
@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_extreme_logits_of_any_target_are_finite(dtype, detach, gammas, clip, value_and_gradient):
    logits = tf.cast(np.tile([-100.0, -16.0, -3.0, 0.0, 3.0, 17.0, 100.0], (3, 1)), dtype)
    loss = AsymmetricLoss(*gammas, clip, detach)
    for row in ([0, 1, 1], [1, 1, 1], [0, 0, 0], [0.0, 0.5, 1.0]):
        targets = np.tile(np.array(row)[:, None], (1, 7))
        value, gradient = value_and_gradient(partial(call, loss, targets, None), logits)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_a_wrong_positive_keeps_its_gradient_unless_there_is_a_floor(value_and_gradient):
    for epsilon, expected in ((0.0, [100.0, -1.0]), (1e-8, [18.42068, 0.0])):
        loss = AsymmetricLoss(epsilon=epsilon)
        value, gradient = value_and_gradient(partial(call, loss, [[1]], None), np.float32([[-100]]))
        np.testing.assert_allclose([value, gradient[0, 0]], expected, rtol=1e-5)


def test_weights_of_entries():
    targets, logits = np.int8([[1, 0], [0, 1]]), np.float32([[0.5, 1.0], [2.0, -1.0]])
    weights = np.float32([[1, 0], [2, 3]])
    expected = sum(
        weights[i, j] * naive(targets[i : i + 1, j : j + 1], logits[i : i + 1, j : j + 1], [1])[0]
        for i in (0, 1)
        for j in (0, 1)
    )
    np.testing.assert_allclose(AsymmetricLoss()(targets, logits, weights), expected, rtol=1e-5)
    rows = AsymmetricLoss()(targets, logits, [2.0, 3.0])
    np.testing.assert_allclose(AsymmetricLoss()(targets, logits, [[2.0], [3.0]]), rows)


def test_one_class_takes_flat_targets():
    logits = np.float32([[0.5], [-1.0]])
    assert AsymmetricLoss()([1, 0], logits) == AsymmetricLoss()([[1], [0]], logits)


def test_an_adaptive_exponent_is_read_when_the_loss_is_called():
    targets, logits = np.int8([[1, 0], [0, 0]]), np.float32([[0.5, 1.0], [2.0, -1.0]])
    loss = AsymmetricLoss(gamma_negative=2)
    loss.make_adaptive()
    compiled = tf.function(loss)
    for gamma in (2.0, 0.0, 3.5):
        loss.gamma_negative.assign(gamma)
        assert loss.get_config()["gamma_negative"] == gamma
        expected = AsymmetricLoss(gamma_negative=gamma)(targets, logits)
        np.testing.assert_allclose(compiled(targets, logits), expected, rtol=1e-5)
    variable = loss.gamma_negative
    loss.make_adaptive()
    assert loss.gamma_negative is variable


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma_positive": -1}, "`gamma_positive=-1` must be 0 or more"),
        ({"gamma_negative": float("nan")}, "`gamma_negative=nan` must be 0 or more"),
        ({"clip": 1.0}, r"`clip=1.0` must be at least 0 and below 1"),
        ({"epsilon": -1e-8}, "`epsilon=-1e-08` must be at least 0 and below 1"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(InputError, match=f"^AsymmetricLoss: {message}"):
        AsymmetricLoss(**arguments)


@pytest.mark.parametrize("targets", [[1, 0], [[1]], [[1, 0, 0]]])
def test_targets_of_other_shapes_are_refused(targets):
    with pytest.raises(InputError, match=r"`targets` have shape .* give both \(batch, classes\)"):
        AsymmetricLoss()(np.int8(targets), np.float32([[1, 2], [3, 4]]))
