import numpy as np
import pytest
from scipy.stats import kendalltau, pearsonr, spearmanr

from keras_distill import InputError
from keras_distill.evaluation.regression_metrics import (
    logistic_map,
    pair_accuracy,
    regression_metrics,
)


def drawn(count=60, noise=0.3, seed=0):
    random = np.random.default_rng(seed)
    scores = random.uniform(1, 5, count)
    return np.tanh(scores - 3) * 7 + random.normal(0, noise, count), scores


def test_correlations_are_those_of_scipy():
    predicted, scores = drawn()
    found = regression_metrics(predicted, scores, resamples=50)
    assert found.means["LCC"] == pytest.approx(pearsonr(predicted, scores)[0])
    assert found.means["SROCC"] == pytest.approx(spearmanr(predicted, scores)[0])
    assert found.means["KROCC"] == pytest.approx(kendalltau(predicted, scores)[0])
    assert found.means["RMSE"] == pytest.approx(np.sqrt(np.mean((predicted - scores) ** 2)))
    for name, value in found.means.items():
        low, high = found.intervals[name]
        assert low <= value <= high or name == "RMSE (logistic)"
        assert low < high


def test_the_logistic_map_brings_predictions_to_the_scale_of_the_scores():
    predicted, scores = drawn()
    found = regression_metrics(predicted, scores, resamples=10).means
    assert found["RMSE (logistic)"] < 0.3 * found["RMSE"]
    assert found["LCC (logistic)"] >= found["LCC"] - 1e-6
    mapped = logistic_map(predicted * 1000 - 5, scores)
    np.testing.assert_allclose(mapped, logistic_map(predicted, scores), atol=1e-2)
    line = logistic_map(np.array([1.0, 2.0, 4.0]), np.array([2.0, 4.0, 8.0]))
    np.testing.assert_allclose(line, [2, 4, 8])
    np.testing.assert_allclose(logistic_map(np.ones(3), np.array([1.0, 2.0, 3.0])), [2, 2, 2])


def test_references_are_resampled_as_a_whole():
    scores = np.repeat(np.arange(8.0), 20)
    predicted = scores + np.repeat(np.random.default_rng(0).normal(0, 2, 8), 20)
    references = np.repeat(np.arange(8), 20)
    whole = regression_metrics(predicted, scores, references=references, resamples=200)
    each = regression_metrics(predicted, scores, resamples=200)
    assert (whole.references, each.references) == (8, 160)
    widths = [high - low for low, high in (whole.intervals["LCC"], each.intervals["LCC"])]
    assert widths[0] > 2 * widths[1]


def test_distortions():
    predicted, scores = drawn()
    names = np.array(["blur", "", "noise"] * 20)
    found = regression_metrics(predicted, scores, distortions=names, resamples=2).by_distortion
    assert set(found) == {"blur", "noise"}
    rows = names == "noise"
    assert found["noise"]["SROCC"] == pytest.approx(spearmanr(predicted[rows], scores[rows])[0])
    assert found["noise"]["images"] == 20


def test_degenerate_scores_have_no_correlation():
    for predicted, scores in (([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [2, 2, 2]), ([1], [4])):
        found = regression_metrics(np.array(predicted), np.array(scores), resamples=5)
        assert np.isnan(found.means["SROCC"])
        assert np.isfinite(found.means["RMSE"])
    with pytest.raises(InputError, match="at least one image"):
        regression_metrics(np.zeros(0), np.zeros(0))
    with pytest.raises(InputError, match=r"has the shape \(2,\), `scores` \(3,\)"):
        regression_metrics(np.zeros(2), np.zeros(3))


def test_pairs():
    assert pair_accuracy(np.array([3.0, 1.0, 2.0, 2.0]), np.array([1.0, 2.0, 2.0, 1.0])) == 0.625
    assert np.isnan(pair_accuracy(np.zeros(0), np.zeros(0)))
