import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_distill import AsymmetricLoss, InputError
from keras_distill.losses.labels.partial_selective_loss import MODES, PartialSelectiveLoss

GOLDEN = Path(__file__).parents[2] / "golden"
CASES = sorted(p.stem for p in GOLDEN.glob("csl__*") if p.stem != "csl__compute_prior")
PRIOR = [0.9, 0.01, 0.4, 0.06, 0.5]


def selection(targets, logits, rows_present, *, mode, topk=5, prior=None, threshold=0.05):
    """The weights of the labels, entry by entry."""
    unknown = [(i, j) for i, j in np.ndindex(logits.shape) if targets[i, j] == -1]
    w = np.ones(logits.shape)
    if mode in ("ignore", "ignore_normalised"):
        for i in range(len(logits)):
            known = sum(target != -1 for target in targets[i])
            w[i] = 1 + 1 / (1 + known) if mode == "ignore_normalised" else 1
        for place in unknown:
            w[place] = 0
    if mode == "selective":
        for i, j in unknown:
            if prior is not None and prior[j] > threshold:
                w[i, j] = 0
        present = [place for place in unknown if rows_present[place[0]]]
        likely = sorted(present, key=lambda place: (-logits[place], place))
        for place in likely[: topk * sum(rows_present)]:
            w[place] = 0
    return w


def naive(
    targets,
    logits,
    weights,
    *,
    focus=None,
    gammas=(0, 1, 2),
    alphas=(1, 1, 1),
    clip=0.0,
    **selected,
):
    focus = logits if focus is None else focus
    w = selection(targets, focus, np.asarray(weights) > 0, **selected)
    total = 0.0
    for i, j in np.ndindex(logits.shape):
        x, p = logits[i, j], np.exp(-np.logaddexp(0, -focus[i, j]))
        kind = {1: 0, 0: 1, -1: 2}[int(targets[i, j])]
        error = 1 - p if kind == 0 else max(p - clip, 0)
        now = np.exp(-np.logaddexp(0, -x))
        if kind == 0:
            loss = np.logaddexp(0, -x)
        else:
            loss = -np.log1p(-max(now - clip, 0)) if clip else np.logaddexp(0, x)
        total += weights[i] * w[i, j] * alphas[kind] * error ** gammas[kind] * loss
    return total, logits.size


def targets_of(random, rows):
    return random.choice([1, 0, -1, -1], (rows, 5)).astype("int8")


def loss_of(golden):
    params = json.loads(str(golden["params_json"]))
    mode = params["partial_loss_mode"]
    return PartialSelectiveLoss(
        "ignore_normalised" if mode == "ignore_normalize_classes" else mode,
        params["gamma_pos"],
        params["gamma_neg"],
        params["gamma_unann"],
        params["clip"],
        params["likelihood_topk"],
        golden.get("prior"),
        params["prior_threshold"],
        alpha_positive=params["alpha_pos"],
        alpha_negative=params["alpha_neg"],
        alpha_unannotated=params["alpha_unann"],
        epsilon=1e-8,
    )


def test_there_is_a_case_for_each_mode(golden):
    assert len(CASES) == 11
    assert {loss_of(golden(case)).mode for case in CASES} == set(MODES)


@pytest.mark.parametrize("case", CASES)
def test_reference(case, golden, value_and_gradient):
    arrays = golden(case)
    loss = loss_of(arrays)
    for dtype in ("float32", "int8"):
        targets = arrays["targets"].astype(dtype)
        value, gradient = value_and_gradient(partial(loss, targets), arrays["logits"])
        np.testing.assert_allclose(value, arrays["loss_f64"], rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(gradient, arrays["grad_logits_f64"], rtol=1e-4, atol=1e-5)
        weights = loss.selection(targets, arrays["logits"])
        np.testing.assert_allclose(weights, arrays["weights_f64"], rtol=1e-5)


@pytest.mark.parametrize(
    ("selected", "others"),
    [
        ({"mode": "negative"}, {"clip": 0.1}),
        ({"mode": "ignore"}, {"alphas": (2, 0.5, 3)}),
        ({"mode": "ignore_normalised"}, {"gammas": (1, 2.5, 0)}),
        ({"mode": "selective", "topk": 1}, {"alphas": (1, 2, 0.5), "gammas": (0, 3, 4)}),
        ({"mode": "selective", "topk": 0, "prior": PRIOR}, {}),
        ({"mode": "selective", "topk": 2, "prior": PRIOR, "threshold": 0.45}, {"clip": 0.05}),
    ],
    ids=["negative", "ignore", "normalised", "likely", "prior", "both"],
)
def test_contract(label_contract, selected, others):
    gammas, alphas = others.get("gammas", (0, 1, 2)), others.get("alphas", (1, 1, 1))
    kinds = ("positive", "negative", "unannotated")
    arguments = {
        "mode": selected["mode"],
        "clip": others.get("clip", 0.0),
        "likelihood_topk": selected.get("topk", 5),
        "prior": selected.get("prior"),
        "prior_threshold": selected.get("threshold", 0.05),
        **{f"gamma_{kind}": gamma for kind, gamma in zip(kinds, gammas, strict=True)},
        **{f"alpha_{kind}": alpha for kind, alpha in zip(kinds, alphas, strict=True)},
    }
    label_contract(
        PartialSelectiveLoss,
        partial(naive, **selected, **others),
        targets_of,
        arguments=arguments,
        types=("int32", "int64", "float16", "float32"),
    )


def test_plain_keras_model(plain_keras_model):
    plain_keras_model(
        PartialSelectiveLoss,
        partial(naive, mode="selective", topk=1, prior=PRIOR),
        targets_of,
        arguments={"likelihood_topk": 1, "prior": PRIOR},
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_degenerate_targets_are_finite(mode, dtype, value_and_gradient):
    loss = PartialSelectiveLoss(mode, 0.5, 1, 2, likelihood_topk=2)
    for rows, classes in ((3, 4), (1, 4), (3, 1), (1, 1)):
        for size in (0.0, 1.0, 100.0):
            logits = tf.cast(size * np.resize([1, -1, 1], (rows, classes)), dtype)
            for target in (-1, 0, 1, 0.3):
                targets = np.full((rows, classes), target)
                value, gradient = value_and_gradient(partial(loss, targets), logits)
                assert np.isfinite(value)
                assert np.isfinite(gradient).all()
    value, gradient = value_and_gradient(
        partial(PartialSelectiveLoss("ignore"), -np.ones((2, 3))), np.float32(np.eye(2, 3))
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("mode", ["negative", "ignore", "selective"])
def test_with_all_labels_it_is_the_asymmetric_loss(mode):
    random = np.random.default_rng(0)
    targets, logits = random.integers(0, 2, (4, 6)), np.float32(random.normal(size=(4, 6)) * 3)
    loss = PartialSelectiveLoss(mode, 1, 4, clip=0.05)
    np.testing.assert_allclose(loss(targets, logits), AsymmetricLoss()(targets, logits), rtol=1e-6)


def test_among_equal_logits_the_first_are_left_out():
    targets = np.int8([[-1, 1, -1, -1], [-1, -1, 0, -1]])
    loss = PartialSelectiveLoss(likelihood_topk=2)
    expected = [[0, 1, 0, 0], [0, 1, 1, 1]]
    np.testing.assert_array_equal(loss.selection(targets, np.full((2, 4), 30.0)), expected)


def test_the_quota_is_of_the_whole_batch_and_of_rows_that_count():
    targets = np.full((3, 4), -1, "int8")
    logits = np.float32([[9, 8, 7, 6], [1, 2, 3, 4], [20, 21, 22, 23]])
    loss = PartialSelectiveLoss(likelihood_topk=1)
    left_out = 1 - np.array(loss.selection(targets, logits))
    np.testing.assert_array_equal(left_out, [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 1]])
    left_out = 1 - np.array(loss.selection(targets, logits, [1.0, 0.5, 0.0]))
    np.testing.assert_array_equal(left_out, [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_the_logits_of_saturated_probabilities_still_have_an_order():
    targets, logits = np.full((1, 3), -1, "int8"), np.float32([[40.0, 60.0, 50.0]])
    left_out = 1 - np.array(PartialSelectiveLoss(likelihood_topk=1).selection(targets, logits))
    np.testing.assert_array_equal(left_out, [[0, 1, 0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "drop"}, "`mode='drop'` is not one of 'negative', 'ignore', "),
        ({"gamma_unannotated": -1}, "`gamma_unannotated=-1` must be 0 or more"),
        ({"likelihood_topk": -1}, "`likelihood_topk=-1` must be 0 or more"),
        ({"prior": [[0.5]]}, r"`prior` must be .* it has the shape \(1, 1\)"),
        ({"prior": [0.5, 1.5]}, "`prior` must be numbers from 0 to 1"),
        ({"prior": [0.5, float("nan")]}, "`prior` must be numbers from 0 to 1"),
        ({"prior": [0.5], "mode": "ignore"}, "`prior` has no effect with `mode='ignore'`"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=f"^PartialSelectiveLoss: {message}"):
        PartialSelectiveLoss(**arguments)


def test_a_prior_of_other_classes_is_refused():
    loss = PartialSelectiveLoss(prior=[0.1, 0.2], name="labels")
    with pytest.raises(InputError, match=r"^labels: `prior` has 2 classes, but the logits have 3;"):
        loss(np.int8([[1, 0, -1]]), np.zeros((1, 3)))
