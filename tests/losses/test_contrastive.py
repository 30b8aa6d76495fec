import numpy as np
import pytest

from keras_distill.losses.contrastive import Contrastive


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
    pulls, pushes = [0.0], [0.0]
    pulling = pushing = 0
    for i, positives, negatives, refs in pairs(labels, embeddings, ref_labels, ref_embeddings):
        weight = 1 if weights is None else weights[i]
        distances = np.linalg.norm(embeddings[i] - refs, axis=1)
        for j in positives:
            if distances[j] > 0.5:
                pulling += 1
                pulls.append(weight * (distances[j] - 0.5))
        for k in negatives:
            if distances[k] < 2.5:
                pushing += 1
                pushes.append(weight * (2.5 - distances[k]))
    return sum(pulls) / max(pulling, 1) + sum(pushes) / max(pushing, 1)


def test_contract(contract):
    contract(Contrastive(0.5, 2.5))


def test_equals_loops(batch):
    labels, embeddings, weights = batch
    loss = Contrastive(0.5, 2.5)
    expected = naive(labels, embeddings)
    assert expected > 0
    assert float(loss(labels, embeddings)) == pytest.approx(expected, rel=1e-4)
    assert float(loss(labels, embeddings, weights)) == pytest.approx(
        naive(labels, embeddings, weights=weights), rel=1e-4
    )


def test_compares_with_references(batch, references):
    labels, embeddings, _ = batch
    value = Contrastive(0.5, 2.5)(labels, embeddings, **references)
    assert float(value) == pytest.approx(naive(labels, embeddings, **references), rel=1e-4)


def test_gradient_equals_finite_differences(batch, value_and_gradient, numeric_gradient):
    labels, embeddings, _ = batch
    _, gradient = value_and_gradient(lambda x: Contrastive(0.5, 2.5)(labels, x), embeddings)
    expected = numeric_gradient(lambda x: naive(labels, x), embeddings)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)
