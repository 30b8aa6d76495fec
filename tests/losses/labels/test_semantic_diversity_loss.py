import json
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from keras_distill import InputError
from keras_distill.losses.labels.semantic_diversity_loss import SemanticDiversityLoss

WORDS = np.float32(np.random.default_rng(0).normal(size=(6, 4)))


def naive(targets, outputs, weights, *, focus=None, words=WORDS, weight=0.3):
    total, count = 0.0, 0
    words = np.float64(words)
    for i, rows in enumerate(outputs):
        labels = [c for c in range(len(words)) if targets[i, c] > 0.5]
        others = [c for c in range(len(words)) if c not in labels]
        if not labels:
            continue
        scores = [max(row @ word for row in rows) for word in words]
        ranking = sum(np.logaddexp(0, scores[n] - scores[p]) for p in labels for n in others)
        if not others:
            ranking = sum(np.logaddexp(0, -score) for score in scores)
        diversity = words[labels].var(axis=0, ddof=1).sum() if len(labels) > 1 else 0.0
        spread = rows.var(axis=0, ddof=1).sum() if len(rows) > 1 else 0.0
        loss = (1 + diversity) * ranking / len(labels)
        if weight is not None:
            loss = 2 * ((1 - weight) * loss + weight * spread)
        total += weights[i] * loss
        count += 1
    return total, count


def targets_of(random, rows):
    targets = random.integers(0, 2, (rows, 6))
    targets[0], targets[rows // 2] = (0, 1)[rows > 1], 1
    targets[-1] = 0 if rows > 2 else [1, 0, 0, -1, 0, 1]
    return targets.astype("int8")


@pytest.fixture
def golden_case(golden):
    return lambda name: case_of(golden(f"sdl__{name}"))


def case_of(golden):
    params = json.loads(str(golden["params_json"]))
    words = golden["wordvec"][0].T
    k = params["k"]
    outputs = golden["x"].reshape(-1, words.shape[1], k).transpose(0, 2, 1)
    loss = SemanticDiversityLoss(words, params["weight"], params.get("reduction", "mean"))
    return golden, loss, np.ascontiguousarray(outputs)


@pytest.mark.parametrize(
    "name",
    [
        "k2_w0.01_seed0",
        "k2_wNone_seed2",
        "sum_reduction_seed3",
        "all_positive_sample",
        "overflow_large_scores",
    ],
)
def test_reference(name, golden_case, value_and_gradient):
    golden, loss, outputs = golden_case(name)
    value, gradient = value_and_gradient(lambda x: loss(golden["targets"], x), outputs)
    np.testing.assert_allclose(value, golden["loss_f64"], rtol=2e-5, atol=1e-6)
    gradient = gradient.transpose(0, 2, 1).reshape(golden["x"].shape)
    np.testing.assert_allclose(gradient, golden["grad_x_f64"], rtol=1e-4, atol=1e-5)


def test_where_the_reference_is_nan_for_an_image_without_labels(golden_case, value_and_gradient):
    golden, loss, outputs = golden_case("no_positive_sample_nan")
    assert np.isnan(golden["loss_f64"])
    labelled = golden["targets"].max(axis=1) > 0
    assert labelled.tolist() == [True, False]
    value, gradient = value_and_gradient(lambda x: loss(golden["targets"], x), outputs)
    expected, slope = value_and_gradient(lambda x: loss(golden["targets"][:1], x), outputs[:1])
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient[:1], slope, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(gradient[1:], 0)


def test_where_the_reference_is_nan_for_one_vector(golden_case, value_and_gradient):
    golden, loss, outputs = golden_case("k1_single_row_nan")
    assert np.isnan(golden["loss_f64"])
    value, gradient = value_and_gradient(lambda x: loss(golden["targets"], x), outputs)
    total, count = naive(
        golden["targets"], np.float64(outputs), [1, 1], words=loss.word_vectors, weight=0.01
    )
    np.testing.assert_allclose(value, total / count, rtol=2e-5)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


@pytest.mark.parametrize(("rows", "weight"), [(3, 0.3), (2, None), (1, 0.5), (2, 1.0)])
def test_contract(label_contract, rows, weight):
    label_contract(
        SemanticDiversityLoss,
        partial(naive, weight=weight),
        targets_of,
        arguments={"word_vectors": WORDS, "weight": weight},
        outputs=(rows, 4),
        types=("int32", "int64", "float32"),
    )


def test_plain_keras_model(plain_keras_model):
    arguments = {"word_vectors": WORDS}
    plain_keras_model(SemanticDiversityLoss, naive, targets_of, arguments=arguments, outputs=(2, 4))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_degenerate_batches_are_finite(dtype, value_and_gradient):
    for words in (WORDS, np.ones((6, 4)), np.zeros((6, 4)), WORDS[:1], WORDS[:2]):
        loss = SemanticDiversityLoss(words)
        classes = len(words)
        for outputs in (np.zeros((2, 3, 4)), np.ones((2, 3, 4)), 100 * np.ones((1, 1, 4))):
            outputs = tf.cast(outputs, dtype)
            for row in (np.zeros(classes), np.ones(classes), -np.ones(classes), np.eye(classes)[0]):
                targets = np.tile(row, (len(outputs), 1))
                value, gradient = value_and_gradient(partial(loss, targets), outputs)
                assert np.isfinite(value)
                assert np.isfinite(gradient).all()
                if row.max() <= 0:
                    assert value == 0
                    np.testing.assert_array_equal(gradient, 0)


def test_unknown_and_fractional_targets():
    outputs = np.float32(np.random.default_rng(0).normal(size=(2, 3, 4)))
    loss = SemanticDiversityLoss(WORDS)
    known = np.array([[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0]])
    other = np.array([[0.9, -1, 0.2, 0.6, 0, -1], [-1, 1, 0.5, 0, -1, -1]])
    assert loss(other, outputs) == loss(known, outputs)


def test_without_diversity_images_of_unlike_labels_count_as_others(value_and_gradient):
    random = np.random.default_rng(0)
    outputs = np.float32(random.normal(size=(3, 2, 4)))
    targets = np.int8([[1, 1, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0], [1, 0, 0, 1, 1, 0]])
    loss = SemanticDiversityLoss(WORDS, weight=0.2, diversity=False)
    value, _ = value_and_gradient(lambda x: loss(targets, x), outputs)
    total = 0
    for rows, labels in zip(np.float64(outputs), targets, strict=True):
        scores = (rows @ WORDS.T).max(axis=0)
        pairs = [
            np.logaddexp(0, scores[n] - scores[p])
            for p in np.flatnonzero(labels)
            for n in np.flatnonzero(labels == 0)
        ]
        total += 2 * (0.8 * sum(pairs) / labels.sum() + 0.2 * rows.var(axis=0, ddof=1).sum())
    np.testing.assert_allclose(value, total / 3, rtol=1e-5)
    rebuilt = SemanticDiversityLoss.from_config(loss.get_config())
    np.testing.assert_allclose(rebuilt(targets, outputs), value, rtol=1e-6)


def test_diversity_keeps_its_digits_far_from_zero():
    words = np.float32(WORDS + 1000)
    outputs = np.zeros((1, 2, 4), np.float32)
    targets = np.int8([[1, 1, 0, 0, 1, 0]])
    value = SemanticDiversityLoss(words, weight=None)(targets, outputs)
    (expected, _) = naive(targets, np.float64(outputs), [1], words=words, weight=None)
    np.testing.assert_allclose(value, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"word_vectors": [1.0, 2.0]}, r"`word_vectors` must be .* they have the shape \(2,\)"),
        ({"word_vectors": np.zeros((0, 3))}, "`word_vectors` must be finite"),
        ({"word_vectors": [[np.inf]]}, "`word_vectors` must be finite"),
        ({"word_vectors": WORDS, "weight": 1.5}, "`weight=1.5` must be from 0 to 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=f"^SemanticDiversityLoss: {message}"):
        SemanticDiversityLoss(**arguments)


def test_other_shapes_are_refused():
    loss = SemanticDiversityLoss(WORDS)
    with pytest.raises(InputError, match=r"outputs have shape \(2, 4\); give \(batch, k, 4\)"):
        loss(np.zeros((2, 6)), np.zeros((2, 4)))
    with pytest.raises(InputError, match=r"`targets` have shape \(2, 5\); give \(batch, 6\)"):
        loss(np.zeros((2, 5)), np.zeros((2, 3, 4)))
