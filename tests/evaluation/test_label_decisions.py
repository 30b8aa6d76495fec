import numpy as np
import pytest

from keras_distill import InputError, best_label_thresholds
from keras_distill.evaluation.label_arrays import class_columns
from keras_distill.evaluation.label_decisions import (
    LabelDecisions,
    above_thresholds,
    decide_top_k,
    top_k,
)


def naive_counts(given, targets, labels):
    """Right, given, and to give, by a double loop."""
    right = said = wanted = 0
    for row in range(len(given)):
        for label in labels:
            if targets[row, label] >= 0:
                right += given[row, label] and targets[row, label] == 1
                said += given[row, label]
                wanted += targets[row, label] == 1
    return right, said, wanted


def naive_figures(given, targets):
    labels = range(targets.shape[1])

    def figures(right, said, wanted):
        precision = right / said if said else 0.0
        recall = right / wanted if wanted else 0.0
        both = precision + recall
        return np.array([precision, recall, 2 * precision * recall / both if both else 0.0])

    each = [figures(*naive_counts(given, targets, [label])) for label in labels]
    positive = [label for label in labels if (targets[:, label] == 1).any()]
    macro = np.mean([each[label] for label in positive], axis=0) if positive else np.zeros(3)
    return figures(*naive_counts(given, targets, labels)), macro, each


def random_case(seed):
    rng = np.random.default_rng(seed)
    images, labels = (int(each) for each in rng.integers(1, 15, 2))
    scores = np.round(rng.random((images, labels)), 1)
    targets = (rng.random((images, labels)) < 0.3).astype(int)
    if seed % 2:
        targets[rng.random(targets.shape) < 0.3] = -1
    return scores, targets


@pytest.mark.parametrize("seed", range(30))
def test_figures_are_those_of_a_double_loop(seed):
    scores, targets = random_case(seed)
    given = scores > 0.5
    found = LabelDecisions(given, targets)
    micro, macro, each = naive_figures(given, targets)
    figures = found.figures()
    for place, name in enumerate(("precision", "recall", "F1")):
        assert figures[f"micro {name}"] == pytest.approx(micro[place], abs=1e-12)
        assert figures[f"macro {name}"] == pytest.approx(macro[place], abs=1e-12)
        for label, values in enumerate(each):
            value = found.by_class()[name][label]
            if (targets[:, label] == 1).any():
                assert value == pytest.approx(values[place], abs=1e-12)
            else:
                assert np.isnan(value)


@pytest.mark.parametrize("seed", range(10))
def test_weights_are_repetitions(seed):
    scores, targets = random_case(seed)
    weights = np.random.default_rng(seed).integers(0, 3, (len(scores), 4))
    found = LabelDecisions(scores > 0.5, targets).figures(weights.astype(np.float32))
    for column, times in enumerate(weights.T):
        again = np.repeat(np.arange(len(scores)), times)
        micro, macro, _ = naive_figures(scores[again] > 0.5, targets[again])
        for place, name in enumerate(("precision", "recall", "F1")):
            assert found[f"micro {name}"][column] == pytest.approx(micro[place], abs=1e-6)
            assert found[f"macro {name}"][column] == pytest.approx(macro[place], abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_top_k_are_the_first_of_a_stable_sort(seed):
    scores, targets = random_case(seed)
    for k in range(1, scores.shape[1] + 1):
        expected = np.zeros(scores.shape, bool)
        for row, each in enumerate(scores):
            expected[row, np.argsort(-each, kind="stable")[:k]] = True
        np.testing.assert_array_equal(top_k(scores, k), expected)
        labelled = (targets == 1).any(axis=1)
        micro, _, _ = naive_figures(expected[labelled], targets[labelled])
        found = decide_top_k(scores, targets, k).figures()
        assert found["micro precision"] == pytest.approx(micro[0], abs=1e-12)
        assert found["micro F1"] == pytest.approx(micro[2], abs=1e-12)


@pytest.mark.parametrize("k", [0, -1, 4])
def test_k_is_a_number_of_labels(k):
    with pytest.raises(InputError, match=f"`k={k}` must be from 1 to the number of labels, 3"):
        top_k(np.zeros((2, 3)), k)


def test_a_score_reaches_the_threshold_that_it_equals():
    scores = np.array([[0.5, 0.1], [0.4, np.float64(np.float32(0.1))]])
    assert above_thresholds(scores, 0.5).tolist() == [[True, False], [False, False]]
    each = above_thresholds(scores, np.array([0.45, 0.1], np.float32))
    assert each.tolist() == [[True, True], [False, True]]
    for wrong in (np.zeros(3), np.nan, np.zeros((2, 2))):
        with pytest.raises(InputError, match="`thresholds` has the shape"):
            above_thresholds(scores, wrong)


@pytest.mark.parametrize("seed", range(30))
def test_no_threshold_has_a_higher_f1(seed):
    scores, targets = random_case(seed)
    chosen = best_label_thresholds(scores, targets, otherwise=0.25)
    assert chosen.dtype == np.float32
    found = LabelDecisions(above_thresholds(scores, chosen), targets).by_class()["F1"]
    for label in range(scores.shape[1]):
        if not (targets[:, label] == 1).any():
            assert chosen[label] == 0.25
            continue
        others = [
            LabelDecisions(scores[:, [label]] >= limit, targets[:, [label]]).by_class()["F1"][0]
            for limit in np.unique(scores)
        ]
        assert found[label] == pytest.approx(max(others), abs=1e-12)


def test_a_threshold_is_midway_or_else_the_upper_score():
    targets = np.array([[1], [0]])
    assert best_label_thresholds(np.array([[0.75], [0.25]]), targets).tolist() == [0.5]
    # The highest of equal F1: giving the label to two of four, or to all.
    scores, equal = np.array([[4.0], [3.0], [2.0], [1.0]]), np.array([[1], [0], [1], [0]])
    assert best_label_thresholds(scores, equal).tolist() == [1.5]
    assert best_label_thresholds(scores, np.ones((4, 1), int)).tolist() == [1.0]
    for lower in np.float32([1.0, np.nextafter(np.float32(1), np.float32(0))]):  # one is even
        upper = np.nextafter(lower, np.float32(2))
        assert best_label_thresholds(np.array([[upper], [lower]]), targets)[0] == upper


def test_columns_of_labels():
    assert class_columns(["a", "b", "c"], ["c", "a", "c"]).tolist() == [0, 2]
    for chosen, message in ((["x"], "'x', which is none of the 3"), ([], "names no class")):
        with pytest.raises(InputError, match=message):
            class_columns(["a", "b", "c"], chosen)
