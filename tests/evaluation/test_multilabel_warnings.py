import numpy as np
import pytest

from keras_distill import multilabel_metrics
from keras_distill.evaluation.average_precision import average_precision
from keras_distill.evaluation.multilabel_warnings import (
    chance_average_precision,
    multilabel_warnings,
)

NAMES = [f"label {number}" for number in range(8)]
RNG = np.random.default_rng(0)
TARGETS = (RNG.random((300, 8)) < np.linspace(0.05, 0.4, 8)).astype(np.int8)
GOOD = np.clip(0.4 * TARGETS + 0.3 + 0.15 * RNG.normal(size=TARGETS.shape), 0, 1)


def judge(scores, targets=TARGETS, **options):
    metrics = multilabel_metrics(scores, targets, **options)
    return multilabel_warnings(metrics, scores, targets, NAMES)


@pytest.mark.parametrize(("positives", "images"), [(1, 1), (1, 30), (7, 30), (29, 30), (30, 30)])
def test_chance_is_the_mean_of_random_rankings(positives, images):
    targets = np.zeros((images, 500), np.int8)
    targets[:positives] = 1
    found = average_precision(np.random.default_rng(0).random(targets.shape), targets).mean()
    expected = chance_average_precision(np.array([positives]), np.array([images]))
    assert expected == pytest.approx(found, abs=0.035)


def test_nothing_is_said_of_a_good_measurement():
    assert judge(GOOD) == []


@pytest.mark.parametrize("seed", range(20))
def test_an_map_at_chance(seed):
    (sentence,) = judge(np.random.default_rng(seed).random(TARGETS.shape))
    assert sentence.startswith("mAP 0.")
    assert "cannot be told from chance, 0.2" in sentence
    share = (TARGETS == 1).mean()
    assert sentence.endswith(f" for labels that {share:.4f} of the images have on average.")


@pytest.mark.parametrize("seed", range(10))
def test_an_map_at_chance_of_one_ranking_for_all_labels(seed):
    scores = np.random.default_rng(seed).random((300, 1)) * np.ones(8)
    assert any("cannot be told from chance" in sentence for sentence in judge(scores))


def test_a_weak_model_is_above_chance():
    weak = GOOD + 0.5 * np.random.default_rng(1).normal(size=GOOD.shape)
    assert average_precision(weak, TARGETS).mean() < 0.55
    assert not any("chance" in sentence for sentence in judge(weak))


def test_scores_that_are_alike():
    alike, at_chance = judge(np.full(TARGETS.shape, 0.7))
    assert alike == "All scores are alike: each label has the same score for all images."
    assert at_chance.startswith(f"mAP {TARGETS.mean():.4f} cannot")
    some = GOOD.copy()
    some[:, [1, 5]] = 0.6
    (sentence,) = judge(some)
    assert sentence == "2 of 8 labels have the same score for all images: label 1, label 5."


def test_labels_without_positives_or_negatives():
    targets = TARGETS.copy()
    targets[:, :6] = 0
    targets[:, 6] = 1
    first, second = judge(GOOD, targets)
    assert first == (
        "6 of 8 labels have no positive image and no AP: label 0, label 1, label 2, label 3, "
        "label 4 and 1 more."
    )
    assert second.startswith("1 of 8 labels are of every image, so their AP is 1 whatever")
    targets[:, :6] = TARGETS[:, :6]
    targets[0] = -1
    (first, second) = judge(GOOD, targets)
    assert first == "1 of 8 labels have no negative image and no AP: label 6."
    assert second == "1 of 300 images are annotated for no label."


def test_thresholds_that_do_not_fit_the_scores():
    (sentence,) = judge(GOOD / 4)
    assert sentence.startswith("No score reaches its threshold")
    assert judge(GOOD / 4, thresholds=0.1) == []
    (sentence,) = judge(10 * GOOD - 5)
    assert sentence.startswith("The scores reach from -5 to 5, and the threshold 0.5 is for prob")
    assert judge(10 * GOOD - 5, thresholds=0.0) == []


@pytest.mark.parametrize("targets", [np.zeros((300, 8), int), np.ones((300, 8), int)])
def test_no_test_against_chance_where_every_ranking_is_the_same(targets):
    assert not any("chance" in sentence for sentence in judge(GOOD, targets))
