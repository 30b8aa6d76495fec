import numpy as np
import pytest

from keras_distill.losses.lifted_structure import LiftedStructure


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
    ref_labels_or_own = labels if ref_labels is None else ref_labels
    total = count = 0
    for i, positives, negatives, refs in pairs(labels, embeddings, ref_labels, ref_embeddings):
        for j in positives:
            count += 1
            distances = [np.linalg.norm(embeddings[i] - refs[k]) for k in negatives]
            distances += [
                np.linalg.norm(embedding - refs[j])
                for label, embedding in zip(labels, embeddings, strict=True)
                if label not in (ref_labels_or_own[j], -1)
            ]
            if distances:
                loss = np.linalg.norm(embeddings[i] - refs[j]) + np.log(
                    np.exp(1.5 - np.array(distances)).sum()
                )
                total += max(loss, 0.0) ** 2 / 2 * (1 if weights is None else weights[i])
    return total / max(count, 1)


def test_contract(contract):
    contract(LiftedStructure(1.5))


def test_equals_loops(batch):
    labels, embeddings, weights = batch
    loss = LiftedStructure(1.5)
    expected = naive(labels, embeddings)
    assert expected > 0
    assert float(loss(labels, embeddings)) == pytest.approx(expected, rel=1e-4)
    assert float(loss(labels, embeddings, weights)) == pytest.approx(
        naive(labels, embeddings, weights=weights), rel=1e-4
    )


def test_compares_with_references(batch, references):
    labels, embeddings, _ = batch
    value = LiftedStructure(1.5)(labels, embeddings, **references)
    assert float(value) == pytest.approx(naive(labels, embeddings, **references), rel=1e-4)


def test_gradient_equals_finite_differences(batch, value_and_gradient, numeric_gradient):
    labels, embeddings, _ = batch
    _, gradient = value_and_gradient(lambda x: LiftedStructure(1.5)(labels, x), embeddings)
    expected = numeric_gradient(lambda x: naive(labels, x), embeddings)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


def test_negatives_of_one_side_suffice():
    anchors, refs = [[0.0], [3.0]], [[1.0], [2.0]]
    value = LiftedStructure(1.0)([0, 1], anchors, ref_labels=[0, 0], ref_embeddings=refs)
    near, far = 1.0 + (1.0 - 2.0), 2.0 + (1.0 - 1.0)  # anchor 0 has no negatives of its own
    assert float(value) == pytest.approx((near**2 + far**2) / 2 / 2)
