import numpy as np
import pytest
import tensorflow as tf

from keras_distill.losses.proxy_anchor import ProxyAnchor

CLASSES = 2**24 + np.arange(4)
PROXIES = np.float32(np.random.default_rng(7).normal(size=(4, 4)))


def built(classes=CLASSES):
    loss = ProxyAnchor(classes, margin=0.2, alpha=4.0)
    loss.build(4)
    loss.layer.set_weights([PROXIES[: len(classes)]])
    return loss


def naive(labels, embeddings, weights=None, proxies=PROXIES):
    weights = np.ones(len(labels)) if weights is None else weights
    pulled = pushed = with_positives = 0
    for c, proxy in zip(CLASSES, np.float64(proxies), strict=True):
        positives = negatives = 0.0
        for label, embedding, weight in zip(labels, embeddings, weights, strict=True):
            cosine = embedding @ proxy / np.linalg.norm(embedding) / np.linalg.norm(proxy)
            if label == c:
                positives += weight * np.exp(-4.0 * (cosine - 0.2))
            elif label in CLASSES:
                negatives += weight * np.exp(4.0 * (cosine + 0.2))
        with_positives += positives > 0
        pulled += np.log(1 + positives)
        pushed += np.log(1 + negatives)
    return pulled / max(with_positives, 1) + pushed / len(CLASSES)


def test_contract(contract):
    contract(built())


def test_equals_loops(batch):
    labels, embeddings, weights = batch
    loss = built()
    assert float(loss(labels, embeddings)) == pytest.approx(naive(labels, embeddings), rel=1e-5)
    for some in (weights, np.where(weights < 1, 0.0, weights)):
        assert float(loss(labels, embeddings, some)) == pytest.approx(
            naive(labels, embeddings, some), rel=1e-5
        )


def test_sample_weights_count_like_copies(batch):
    labels, embeddings, _ = batch
    weights = np.arange(len(labels)) % 3
    assert float(built()(labels, embeddings, weights)) == pytest.approx(
        float(built()(np.repeat(labels, weights), np.repeat(embeddings, weights, axis=0))), rel=1e-5
    )


def test_labels_of_no_class_have_no_part(batch, value_and_gradient):
    labels, embeddings, _ = batch
    labels = np.where(labels == CLASSES[0], 5, labels)
    value, gradient = value_and_gradient(lambda x: built()(labels, x), embeddings)
    assert value == pytest.approx(naive(labels, embeddings), rel=1e-5)
    np.testing.assert_array_equal(gradient[labels == 5], 0)


def test_gradients_equal_finite_differences(batch, numeric_gradient):
    labels, embeddings, _ = batch
    loss = built()
    rows = tf.constant(embeddings)
    with tf.GradientTape() as tape:
        tape.watch(rows)
        value = loss(labels, rows)
    to_rows, to_proxies = tape.gradient(value, [rows, loss.layer.trainable_variables[0].value])
    expected = numeric_gradient(lambda x: naive(labels, x), embeddings)
    np.testing.assert_allclose(to_rows, expected, rtol=1e-3, atol=1e-4)
    expected = numeric_gradient(lambda x: naive(labels, embeddings, proxies=x), PROXIES)
    np.testing.assert_allclose(to_proxies, expected, rtol=1e-3, atol=1e-4)
