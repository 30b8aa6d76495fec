import numpy as np
import pytest
from scipy.stats import binom

from keras_distill.retrieval.bootstrap import (
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


def test_percentiles_pass_over_what_is_not_a_number():
    samples = np.array([[np.nan, *np.arange(101.0)], np.arange(102.0)]).T
    np.testing.assert_allclose(percentile_intervals(samples, confidence=0.9)[0], [5, 95])
