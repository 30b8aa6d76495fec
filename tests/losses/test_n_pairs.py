import numpy as np
import pytest

from keras_distill.losses.n_pairs import NPairs


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
    total = anchors = 0
    for i, positives, negatives, refs in pairs(labels, embeddings, ref_labels, ref_embeddings):
        anchors += 1
        logits = 3.0 * refs @ embeddings[i]
        losses = [
            np.log(1 + sum(np.exp(logits[k] - logits[j]) for k in negatives)) for j in positives
        ]
        if losses:
            total += np.mean(losses) * (1 if weights is None else weights[i])
    return total / max(anchors, 1)


def test_contract(contract):
    contract(NPairs(scale=3.0))


def test_equals_loops(batch):
    labels, embeddings, weights = batch
    loss = NPairs(scale=3.0)
    expected = naive(labels, embeddings)
    assert expected > 0
    assert float(loss(labels, embeddings)) == pytest.approx(expected, rel=1e-4)
    assert float(loss(labels, embeddings, weights)) == pytest.approx(
        naive(labels, embeddings, weights=weights), rel=1e-4
    )


def test_compares_with_references(batch, references):
    labels, embeddings, _ = batch
    value = NPairs(scale=3.0)(labels, embeddings, **references)
    assert float(value) == pytest.approx(naive(labels, embeddings, **references), rel=1e-4)


def test_gradient_equals_finite_differences(batch, value_and_gradient, numeric_gradient):
    labels, embeddings, _ = batch
    _, gradient = value_and_gradient(lambda x: NPairs(scale=3.0)(labels, x), embeddings)
    expected = numeric_gradient(lambda x: naive(labels, x), embeddings)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


def test_one_reference_of_each_class_makes_it_a_cross_entropy():
    random = np.random.default_rng(0)
    labels, anchors, refs = np.arange(5), random.normal(size=(5, 8)), random.normal(size=(5, 8))
    exponentials = np.exp(anchors @ refs.T)
    expected = -np.log(np.diagonal(exponentials) / exponentials.sum(axis=1)).mean()
    value = NPairs()(labels, anchors, ref_labels=labels, ref_embeddings=refs)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_large_products_do_not_overflow():
    value = NPairs(1000.0)([0, 0, 1], [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert float(value) == pytest.approx((1000.0 + np.log(2.0)) / 3)
