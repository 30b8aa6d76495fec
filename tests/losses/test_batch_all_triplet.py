import numpy as np
import pytest

from keras_distill.losses.batch_all_triplet import BatchAllTriplet


def pairs(labels, embeddings, ref_labels, ref_embeddings):
    """Each labelled anchor with its positives and its negatives among the references."""
    within = ref_labels is None
    ref_labels = labels if within else ref_labels
    refs = np.float64(embeddings if within else ref_embeddings)
    for i, label in enumerate(labels):
        if label >= 0:
            positives = [j for j in range(len(refs)) if ref_labels[j] == label]
            negatives = [k for k in range(len(refs)) if ref_labels[k] not in (label, -1)]
            yield i, [j for j in positives if not (within and i == j)], negatives, refs


def naive(labels, embeddings, ref_labels=None, ref_embeddings=None, weights=None):
    total = active = 0
    for i, positives, negatives, refs in pairs(labels, embeddings, ref_labels, ref_embeddings):
        distances = np.linalg.norm(embeddings[i] - refs, axis=1)
        for j in positives:
            for k in negatives:
                hinge = distances[j] - distances[k] + 0.5
                if hinge > 0:
                    total += hinge * (1 if weights is None else weights[i])
                    active += 1
    return total / max(active, 1)


def test_contract(contract):
    contract(BatchAllTriplet(0.5))


def test_equals_loops(batch):
    labels, embeddings, weights = batch
    loss = BatchAllTriplet(0.5)
    expected = naive(labels, embeddings)
    assert expected > 0
    assert float(loss(labels, embeddings)) == pytest.approx(expected, rel=1e-4)
    assert float(loss(labels, embeddings, weights)) == pytest.approx(
        naive(labels, embeddings, weights=weights), rel=1e-4
    )


def test_compares_with_references(batch, references):
    labels, embeddings, _ = batch
    value = BatchAllTriplet(0.5)(labels, embeddings, **references)
    assert float(value) == pytest.approx(naive(labels, embeddings, **references), rel=1e-4)


def test_gradient_equals_finite_differences(batch, value_and_gradient, numeric_gradient):
    labels, embeddings, _ = batch
    _, gradient = value_and_gradient(lambda x: BatchAllTriplet(0.5)(labels, x), embeddings)
    expected = numeric_gradient(lambda x: naive(labels, x), embeddings)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


def test_satisfied_triplets_are_not_counted():
    assert float(BatchAllTriplet(0.1)([0, 0, 1], [[0.0], [1.0], [5.0]])) == 0
    value = BatchAllTriplet(0.1)([0, 0, 1], [[0.0], [2.0], [2.5]])  # only (1, 0, 2) is violated
    assert float(value) == pytest.approx(2.0 - 0.5 + 0.1)


def test_a_triplet_on_the_margin_is_not_counted():
    # Of the anchor at 0, the negative at 1.5 is farther by just the margin, that at 1.25 by less.
    value = BatchAllTriplet(0.5)([5, 5, 1, 2], [[0.0], [1.0], [-1.5], [-1.25]])
    assert float(value) == pytest.approx(0.25)


def test_large_batch_keeps_its_precision():
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, 120)
    embeddings = random.normal(size=(120, 64))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    value = BatchAllTriplet(0.5)(labels, embeddings)
    assert float(value) == pytest.approx(naive(labels, embeddings), rel=1e-5)
