import numpy as np
import pytest

from keras_distill.evaluation.same_calibration import (
    SameCalibration,
    calibrate_same,
    calibration_error,
    threshold_rows,
)
from keras_distill.evaluation.score_counts import ScoreCounts


def test_the_fit_finds_the_slope_that_made_the_pairs():
    """Half of the pairs are the same, with a probability that follows the formula."""
    random = np.random.default_rng(0)
    scores = random.uniform(-1, 1, 60_000)
    same = random.random(60_000) < 1 / (1 + np.exp(-(12 * scores - 0)))
    counts = ScoreCounts.of(np.round(scores, 3), same)
    found = calibrate_same(counts)
    assert found.slope == pytest.approx(12, rel=0.04)
    assert found.intercept == pytest.approx(0, abs=0.1)
    assert calibration_error(counts, found) < 0.01
    assert found.probability(found.cosine_at(0.9)) == pytest.approx(0.9)


def test_same_and_different_pairs_count_equally():
    scores, same = np.array([0.9, 0.6, 0.5, 0.2]), np.array([True, True, False, False])
    few = calibrate_same(ScoreCounts.of(np.repeat(scores, 1000), np.repeat(same, 1000)))
    times = np.where(same, 1000, 50_000)
    many = calibrate_same(ScoreCounts.of(np.repeat(scores, times), np.repeat(same, times)))
    assert few.cosine_at(0.5) == pytest.approx(many.cosine_at(0.5), abs=0.02)
    assert many.probability(0.55, share_of_same=1 / 51) < many.probability(0.55)


@pytest.mark.parametrize("scores", [[0.9, 0.9, 0.1, 0.1], [0.5] * 4, [0.1, 0.1, 0.9, 0.9]])
def test_the_fit_is_finite(scores):
    """Of pairs that are divided perfectly, that are alike, and that are the wrong way round."""
    counts = ScoreCounts.of(np.array(scores), np.array([1, 1, 0, 0]))
    found = calibrate_same(counts)
    assert np.isfinite([found.slope, found.intercept]).all()
    assert 0 <= calibration_error(counts, found) <= 1
    assert np.sign(round(found.slope, 6)) == np.sign(scores[0] - scores[2])


def test_rows_are_those_of_a_naive_loop():
    random = np.random.default_rng(1)
    same = random.random(500) < 0.5
    scores = np.clip(random.normal(0.2 + 0.4 * same, 0.15), -1, 1)
    counts = ScoreCounts.of(scores, same)
    rows = threshold_rows(counts, SameCalibration(20.0, -8.0))
    assert [row["cosine"] for row in rows] == sorted((row["cosine"] for row in rows), reverse=True)
    for row in rows:
        accepted = scores >= row["cosine"]
        recall, false = accepted[same].mean(), accepted[~same].mean()
        assert row["recall"] == pytest.approx(recall)
        assert row["false_acceptance"] == pytest.approx(false)
        assert row["precision"] == pytest.approx(recall / (recall + false))
        assert row["distance"] == pytest.approx(np.sqrt(2 - 2 * row["cosine"]))
