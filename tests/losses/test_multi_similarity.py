import numpy as np
import pytest

from keras_distill.losses.multi_similarity import MultiSimilarity

LOSS = MultiSimilarity(2.0, 10.0, 0.4, epsilon=0.2)


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


def naive(labels, embeddings, ref_labels=None, ref_embeddings=None, weights=None, epsilon=0.2):
    total = anchors = 0
    for i, positives, negatives, refs in pairs(labels, embeddings, ref_labels, ref_embeddings):
        anchors += 1
        lengths = np.linalg.norm(embeddings[i]) * np.linalg.norm(refs, axis=1)
        cosines = refs @ embeddings[i] / lengths
        near = max([cosines[k] for k in negatives], default=-np.inf) + (epsilon or 0)
        far = min([cosines[j] for j in positives], default=np.inf) - (epsilon or 0)
        if epsilon is not None:
            positives = [j for j in positives if cosines[j] < near]
            negatives = [k for k in negatives if cosines[k] > far]
        pull = sum(np.exp(-2.0 * (cosines[j] - 0.4)) for j in positives)
        push = sum(np.exp(10.0 * (cosines[k] - 0.4)) for k in negatives)
        loss = np.log(1 + pull) / 2.0 + np.log(1 + push) / 10.0
        total += loss * (1 if weights is None else weights[i])
    return total / max(anchors, 1)


def test_contract(contract):
    contract(LOSS)


def test_equals_loops(batch):
    labels, embeddings, weights = batch
    expected = naive(labels, embeddings)
    assert expected > 0
    assert float(LOSS(labels, embeddings)) == pytest.approx(expected, rel=1e-4)
    assert float(LOSS(labels, embeddings, weights)) == pytest.approx(
        naive(labels, embeddings, weights=weights), rel=1e-4
    )


def test_compares_with_references(batch, references):
    labels, embeddings, _ = batch
    value = LOSS(labels, embeddings, **references)
    assert float(value) == pytest.approx(naive(labels, embeddings, **references), rel=1e-4)


def test_gradient_equals_finite_differences(batch, value_and_gradient, numeric_gradient):
    labels, embeddings, _ = batch
    _, gradient = value_and_gradient(lambda x: LOSS(labels, x), embeddings)
    expected = numeric_gradient(lambda x: naive(labels, x), embeddings)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


def test_all_pairs_without_mining(batch):
    labels, embeddings, _ = batch
    value = MultiSimilarity(2.0, 10.0, 0.4, epsilon=None)(labels, embeddings)
    expected = naive(labels, embeddings, epsilon=None)
    assert float(value) == pytest.approx(expected, rel=1e-4)
    assert expected > naive(labels, embeddings)


def test_does_not_depend_on_the_scale(batch):
    labels, embeddings, _ = batch
    expected = float(MultiSimilarity()(labels, embeddings))
    assert float(MultiSimilarity()(labels, embeddings * 1e12)) == pytest.approx(expected, rel=1e-5)


def test_well_separated_classes_cost_nothing():
    embeddings = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    assert float(MultiSimilarity()([0, 0, 1, 1], embeddings)) == 0
    assert float(MultiSimilarity(epsilon=None)([0, 0, 1, 1], embeddings)) > 0
