from pathlib import Path

import numpy as np
import pytest

from keras_distill import InputError
from keras_distill.evaluation.average_precision import LabelRanking, average_precision

GOLDEN = Path(__file__).parents[1] / "golden"


def naive(scores, targets):
    """AP of one label, a threshold at a time: precision times the rise of recall."""
    scores, targets = scores[targets >= 0], targets[targets >= 0]
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        given = scores >= threshold
        right = np.sum(targets[given] == 1)
        total += right / given.sum() * (right / np.sum(targets == 1) - recall)
        recall = right / np.sum(targets == 1)
    return total


def random_case(seed, labels=8):
    rng = np.random.default_rng(seed)
    images = int(rng.integers(1, 40))
    scores = rng.normal(size=(images, labels))
    if seed % 3 == 0:
        scores = np.round(scores)  # ties
    targets = (rng.random((images, labels)) < rng.random(labels)).astype(int)
    if seed % 2 == 0:
        targets[rng.random(targets.shape) < 0.3] = -1
    return scores.astype([np.float64, np.float32, np.float16][seed % 3 - 1]), targets


@pytest.mark.parametrize("seed", range(40))
def test_ap_is_that_of_a_naive_loop(seed):
    scores, targets = random_case(seed)
    found = average_precision(scores, targets)
    assert found.dtype == np.float64
    for label in range(scores.shape[1]):
        column = targets[:, label]
        if not (column == 1).any() or ((column < 0).any() and not (column == 0).any()):
            assert np.isnan(found[label])
        else:
            assert found[label] == pytest.approx(naive(scores[:, label], column), abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_weights_are_repetitions(seed):
    scores, targets = random_case(seed)
    weights = np.random.default_rng(seed).integers(0, 4, (len(scores), 5))
    found = LabelRanking(scores, targets).average_precision(weights.astype(np.float32))
    for column, times in enumerate(weights.T):
        again = np.repeat(np.arange(len(scores)), times)
        for label in range(scores.shape[1]):
            drawn = targets[again, label]
            if np.isnan(average_precision(scores, targets)[label]) or not (drawn == 1).any():
                assert np.isnan(found[label, column])
            else:
                expected = naive(scores[again, label], drawn)
                assert found[label, column] == pytest.approx(expected, abs=1e-6)


def test_golden_values_of_asl():
    with np.load(GOLDEN / "asl__metric_mAP.npz") as file:
        found = average_precision(file["preds"], file["targets"].astype(int))
        # There a label without positives has an AP of 0, and enters the mean.
        assert np.isnan(found[-1])
        np.testing.assert_allclose(np.nan_to_num(found), file["ap"], atol=1e-8)
        assert 100 * np.nan_to_num(found).mean() == pytest.approx(float(file["mAP"]), abs=1e-6)


def test_scores_that_are_equal_have_the_share_of_positives_in_any_order():
    targets = np.array([[1], [0], [0], [1], [0]])
    for order in ([0, 1, 2, 3, 4], [4, 2, 1, 0, 3], [3, 0, 1, 2, 4]):
        assert average_precision(np.ones((5, 1)), targets[order]).tolist() == [0.4]


def test_the_order_of_images_and_the_scale_of_scores_do_not_matter():
    scores, targets = random_case(3)
    order = np.random.default_rng(0).permutation(len(scores))
    expected = average_precision(scores, targets)
    np.testing.assert_allclose(average_precision(scores[order], targets[order]), expected)
    np.testing.assert_allclose(average_precision(3.0 * scores - 7, targets), expected)


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ([1, 1, 1], 1.0),
        ([1, -1, 1], np.nan),
        ([0, 0, 0], np.nan),
        ([-1, -1, -1], np.nan),
        ([0, -1, 1], 0.5),
        ([1, 0, -1], 1.0),
    ],
)
def test_labels_without_positives_or_negatives(column, found):
    scores = np.array([[0.9], [0.8], [0.7]])
    np.testing.assert_equal(average_precision(scores, np.array(column)[:, None]), [found])


def test_one_image():
    np.testing.assert_equal(average_precision(np.zeros((1, 2)), np.array([[1, 0]])), [1.0, np.nan])


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2), int), r"shape \(2, 3\) and `targets` \(3, 2\)"),
        (np.zeros(3), np.zeros(3, int), "must be"),
        (np.zeros((0, 3)), np.zeros((0, 3), int), "hold some"),
        (np.array([[0.0, np.nan]]), np.zeros((1, 2), int), "holds nan in row 0, column 1"),
        (np.array([[0.0], [-np.inf]]), np.zeros((2, 1), int), "holds -inf in row 1, column 0"),
        (np.zeros((1, 2)), np.array([[1, 2]]), "holds 2 in row 0, column 1; a target is 1, "),
        (np.zeros((1, 2)), np.array([[0.5, 1]]), "holds 0.5"),
    ],
)
def test_arrays_that_do_not_fit(scores, targets, message):
    with pytest.raises(InputError, match=message):
        average_precision(scores, targets)
