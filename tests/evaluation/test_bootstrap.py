import numpy as np
import pytest
from scipy.stats import binom

from keras_distill.evaluation.bootstrap import (
    mean_intervals,
    percentile_intervals,
    resampled_means,
)


def naive(values, resamples, seed):
    """Draws rows with the same numbers and averages those that count."""
    random = np.random.default_rng(seed)
    means = []
    for _ in range(resamples):
        drawn = values[random.integers(len(values), size=len(values))]
        counted = [column[np.isfinite(column)] for column in drawn.T]
        means.append([column.mean() if len(column) else 0.0 for column in counted])
    return np.array(means)


def test_means_are_those_of_the_drawn_queries():
    values = np.random.default_rng(1).random((40, 3))
    values[::3, 1] = np.nan
    values[1:, 2] = np.nan  # counts in some resamples only
    expected = naive(values, 50, seed=7)
    np.testing.assert_allclose(resampled_means(values, resamples=50, seed=7), expected)
    assert (expected[:, 2] == 0).any()
    assert (expected[:, 2] > 0).any()


def naive_by_class(values, classes, resamples, seed):
    """Draws whole classes with the same numbers and averages all of their queries that count."""
    random = np.random.default_rng(seed)
    names = np.unique(classes)
    means = []
    for _ in range(resamples):
        drawn = [
            values[classes == names[row]] for row in random.integers(len(names), size=len(names))
        ]
        counted = [column[np.isfinite(column)] for column in np.concatenate(drawn).T]
        means.append([column.mean() if len(column) else 0.0 for column in counted])
    return np.array(means)


def test_means_are_those_of_the_drawn_classes():
    random = np.random.default_rng(1)
    values, classes = random.random((40, 3)), random.choice([3, 5, 11, 12, 40], size=40)
    values[::3, 1] = np.nan
    values[classes != 5, 2] = np.nan  # one class counts
    expected = naive_by_class(values, classes, 50, seed=7)
    means = resampled_means(values, classes=classes, resamples=50, seed=7)
    np.testing.assert_allclose(means, expected)
    assert (expected[:, 2] == 0).any()


def test_classes_of_one_query_each_are_the_queries():
    values = np.random.default_rng(1).random((60, 2))
    np.testing.assert_allclose(
        mean_intervals(values, classes=np.arange(60)[::-1] * 7), mean_intervals(values), atol=0.02
    )


@pytest.mark.parametrize(("spread", "holds"), [("queries", False), ("classes", True)])
def test_intervals_over_classes_hold_where_classes_stand_or_fall_together(spread, holds):
    """Of other classes, as good on average, intervals over queries promise too much."""
    random = np.random.default_rng(0)
    classes = np.repeat(np.arange(30), 20)
    held = []
    for sample in range(120):
        recall = random.beta(2, 2, 30)  # of each class; 0.5 on average
        values = random.random((600, 1)) < recall[classes, None]
        groups = classes if spread == "classes" else None
        ((low, high),) = mean_intervals(values, classes=groups, resamples=300, seed=sample)
        held.append(low <= 0.5 <= high)
    assert (np.mean(held) > 0.87) == holds
    assert (np.mean(held) < 0.8) != holds


def test_columns_are_drawn_together():
    values = np.random.default_rng(1).random((200, 1))
    means = resampled_means(np.concatenate([values, 1 - values], axis=1), resamples=20)
    np.testing.assert_allclose(means.sum(axis=1), 1.0)


def test_equal_seeds_give_equal_intervals():
    values = np.random.default_rng(1).random((200, 2))
    np.testing.assert_array_equal(mean_intervals(values, seed=3), mean_intervals(values, seed=3))
    assert (mean_intervals(values, seed=3) != mean_intervals(values, seed=4)).any()


@pytest.mark.parametrize(("hits", "queries"), [(160, 200), (15, 1000), (500, 1000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_interval_of_a_recall_is_binomial(hits, queries, confidence):
    # The number of hits among queries that are drawn anew is binomial, so the bounds are known.
    values = (np.arange(queries) < hits)[:, None]
    ((low, high),) = mean_intervals(values, confidence=confidence, resamples=4000)
    exact = binom.interval(confidence, queries, hits / queries)
    assert np.round([low * queries, high * queries]) == pytest.approx(exact, abs=2)


def test_intervals_hold_the_true_recall_as_often_as_they_say():
    random = np.random.default_rng(0)
    recall, queries, samples = 0.7, 150, 300
    held = 0
    for sample in range(samples):
        values = random.random((queries, 1)) < recall
        ((low, high),) = mean_intervals(values, resamples=300, seed=sample)
        held += low <= recall <= high
    # What the exact distribution gives for all possible numbers of hits.
    hits = np.arange(queries + 1)
    low, high = binom.interval(0.95, queries, hits / queries)
    expected = binom.pmf(hits, queries, recall)[
        (low <= recall * queries) & (recall * queries <= high)
    ].sum()
    assert expected == pytest.approx(0.95, abs=0.02)
    assert held / samples == pytest.approx(expected, abs=3 * np.sqrt(0.05 * 0.95 / samples))


def test_percentiles_ignore_nan():
    samples = np.array([[np.nan, *np.arange(101.0)], np.arange(102.0)]).T
    np.testing.assert_allclose(percentile_intervals(samples, confidence=0.9)[0], [5, 95])
