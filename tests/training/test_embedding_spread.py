import itertools
import math

import numpy as np
import pytest

from keras_distill.training.embedding_spread import embedding_spread


def by_hand(embeddings, labels, margin):
    embeddings = embeddings.astype(np.float64)
    n = len(labels)

    def distance(i, j):
        return math.dist(embeddings[i], embeddings[j])

    pairs = [(i, j) for i, j in itertools.product(range(n), repeat=2) if i != j]
    near = [distance(i, j) for i, j in pairs if labels[i] == labels[j]]
    far = [distance(i, j) for i, j in pairs if labels[i] != labels[j]]
    active = [
        distance(a, p) - distance(a, n_) + margin > 0
        for a, p in pairs
        if labels[a] == labels[p]
        for n_ in range(n)
        if labels[n_] != labels[a]
    ]
    singular = np.linalg.svd(embeddings - embeddings.mean(axis=0), compute_uv=False)
    shares = singular[singular > 1e-12] / singular.sum()
    return {
        "embedding_std": math.sqrt(embeddings.var(axis=0).sum()),
        "effective_rank": math.exp(-(shares * np.log(shares)).sum()),
        "positive_distance": np.mean(near),
        "negative_distance": np.mean(far),
        "active_triplets": np.mean(active),
    }


@pytest.mark.parametrize("dim", [3, 40])
@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_values(dim, margin):
    rng = np.random.default_rng(dim)
    embeddings = rng.normal(size=(20, dim)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    labels = rng.integers(0, 5, 20)
    expected = by_hand(embeddings, labels, margin)
    assert embedding_spread(embeddings, labels, margin) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_effective_rank_counts_equal_directions(rank):
    axes = np.eye(5)[:rank]
    spread = embedding_spread(np.concatenate([axes, -axes]), np.arange(2 * rank), 0.2)
    assert spread["effective_rank"] == pytest.approx(rank)


def test_equal_embeddings():
    spread = embedding_spread(np.ones((6, 3), np.float32), np.arange(6) // 2, 0.2)
    assert spread == {
        "embedding_std": 0.0,
        "effective_rank": 1.0,
        "positive_distance": 0.0,
        "negative_distance": 0.0,
        "active_triplets": 1.0,
    }


def test_without_positives_or_negatives():
    embeddings = np.random.default_rng(0).normal(size=(4, 3))
    no_positives = embedding_spread(embeddings, np.arange(4), 0.2)
    assert no_positives.keys() == {"embedding_std", "effective_rank", "negative_distance"}
    no_negatives = embedding_spread(embeddings, np.zeros(4, int), 0.2)
    assert no_negatives.keys() == {"embedding_std", "effective_rank", "positive_distance"}
