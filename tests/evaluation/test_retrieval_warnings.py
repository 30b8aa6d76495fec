import numpy as np
import pytest

from keras_distill.evaluation.retrieval_metrics import retrieval_metrics
from keras_distill.evaluation.retrieval_warnings import (
    chance_recall,
    chance_warnings,
    class_size_warnings,
    relative_deviation,
    retrieval_warnings,
)

LABELS = np.repeat(np.arange(12), 10)
RANDOM = np.random.default_rng(0).normal(size=(120, 8))
GOOD = np.eye(12)[LABELS] + 0.1 * np.random.default_rng(0).normal(size=(120, 12))


def judge(embeddings, labels, ks=(1, 2)):
    metrics = retrieval_metrics(embeddings, labels, ks=ks)
    return retrieval_warnings(metrics, embeddings, embeddings)


@pytest.mark.parametrize("labels", [LABELS, np.array([0, 0, 0, 1, 1, 2]), np.zeros(4, int)])
@pytest.mark.parametrize("k", [1, 3, 50])
def test_chance_is_the_mean_of_random_rankings(labels, k):
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(300):
        for query, label in enumerate(labels):
            others = rng.permutation(np.delete(labels, query))
            hits.append((others[:k] == label).any())
    assert chance_recall(labels, k) == pytest.approx(np.mean(hits), abs=0.02)


def test_nothing_is_said_of_a_good_measurement():
    assert judge(GOOD, LABELS) == []
    assert judge(1 + 1e-2 * GOOD, LABELS) == []  # close together, but in order


@pytest.mark.parametrize("seed", range(5))
def test_recall_at_chance(seed):
    embeddings = np.random.default_rng(seed).normal(size=(120, 8))
    (sentence,) = judge(embeddings, LABELS)
    recall = retrieval_metrics(embeddings, LABELS).recall[1]
    assert sentence == (
        f"Recall@1 {recall:.4f} cannot be told from chance, 0.0756 on these 120 images of 12 "
        "classes."
    )
    assert judge(embeddings, LABELS, ks=[4])[0].startswith("Recall@4 ")


def test_recall_above_chance_is_recognised_given_enough_queries():
    assert chance_warnings(LABELS, 0.2) == []
    assert chance_warnings(np.repeat(np.arange(3), 2), 0.4) != []


def test_embeddings_that_are_alike():
    point = np.ones((120, 4)) + 1e-8 * RANDOM[:, :4]
    alike, at_chance = judge(point, LABELS)
    assert alike.startswith("All embeddings are alike: their standard deviation is 9.1e-09 of")
    assert "cannot be told from chance" in at_chance
    metrics = retrieval_metrics(GOOD, LABELS)
    (alike,) = retrieval_warnings(metrics, GOOD, np.ones((120, 12)))
    assert alike.startswith("All gallery embeddings are alike: ")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([3, 3, 3], "All 3 images are of one class, so every measure is 1 whatever the model"),
        ([0, 1, 2, 3], "Each of the 4 classes has one image, so no query has a match"),
        ([0, 1, 1, 1], "1 of 4 queries are the only image of their class and count as missed, so "),
        ([0], "1 image cannot be searched for one another."),
    ],
)
def test_classes_of_too_few_images(labels, said):
    (sentence,) = class_size_warnings(np.array(labels))
    assert sentence.startswith(said)


def test_no_test_against_chance_where_every_ranking_is_the_same():
    assert judge(RANDOM[:5], np.zeros(5, int)) == class_size_warnings(np.zeros(5, int))
    assert judge(RANDOM[:5], np.arange(5)) == class_size_warnings(np.arange(5))
    assert class_size_warnings(LABELS) == []


def test_deviation_of_zeros():
    assert relative_deviation(np.zeros((3, 2))) == 0.0
