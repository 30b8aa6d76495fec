import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.losses.arc_face import ArcFace

CLASSES = 2**24 + np.arange(4)


def built(vectors=None, **settings):
    loss = ArcFace(CLASSES, **{"margin": 0.5, "scale": 8.0, **settings})
    loss.build(4)
    loss.layer.set_weights([VECTORS if vectors is None else np.float32(vectors)])
    return loss


VECTORS = np.float32(np.random.default_rng(7).normal(size=(4, 4)))


def naive(labels, embeddings, weights=None, vectors=VECTORS, margin=0.5, scale=8.0):
    total = known = 0
    for i, label in enumerate(labels):
        if label not in CLASSES:
            continue
        known += 1
        logits = []
        for c, vector in zip(CLASSES, np.float64(vectors), strict=True):
            cosine = embeddings[i] @ vector
            cosine /= np.linalg.norm(embeddings[i]) * np.linalg.norm(vector)
            angle = np.arccos(cosine)
            if c == label and angle + margin < np.pi:
                cosine = np.cos(angle + margin)
            elif c == label:
                cosine -= margin * np.sin(margin)
            logits.append(scale * cosine)
        loss = -logits[label - CLASSES[0]] + np.log(np.sum(np.exp(logits)))
        total += loss * (1 if weights is None else weights[i])
    return total / max(known, 1)


def test_contract(contract):
    contract(built())


@pytest.mark.parametrize("margin", [0.0, 0.5, 1.2])
def test_equals_loops(batch, margin):
    labels, embeddings, weights = batch
    loss = built(margin=margin)
    expected = naive(labels, embeddings, margin=margin)
    assert float(loss(labels, embeddings)) == pytest.approx(expected, rel=1e-4)
    assert float(loss(labels, embeddings, weights)) == pytest.approx(
        naive(labels, embeddings, weights, margin=margin), rel=1e-4
    )


def test_labels_of_no_class_have_no_part(batch, value_and_gradient):
    labels, embeddings, _ = batch
    labels = np.where(labels == CLASSES[0], 5, labels)
    value, gradient = value_and_gradient(lambda x: built()(labels, x), embeddings)
    assert value == pytest.approx(naive(labels, embeddings), rel=1e-4)
    np.testing.assert_array_equal(gradient[labels == 5], 0)


def test_gradients_equal_finite_differences(batch, numeric_gradient):
    labels, embeddings, _ = batch
    loss = built()
    rows = tf.constant(embeddings)
    with tf.GradientTape() as tape:
        tape.watch(rows)
        value = loss(labels, rows)
    to_rows, to_vectors = tape.gradient(value, [rows, loss.layer.trainable_variables[0].value])
    expected = numeric_gradient(lambda x: naive(labels, x), embeddings)
    np.testing.assert_allclose(to_rows, expected, rtol=1e-3, atol=1e-4)
    expected = numeric_gradient(lambda x: naive(labels, embeddings, vectors=x), VECTORS)
    np.testing.assert_allclose(to_vectors, expected, rtol=1e-3, atol=1e-4)


def test_opposite_embeddings_are_pulled_on():
    loss = built(np.eye(4)[[0, 2, 3, 3]], scale=1.0)
    angles = np.radians([120.0, 140.0, 155.0, 170.0, 179.0])
    losses = [
        float(loss(CLASSES[:1], [[np.cos(angle), np.sin(angle), 0.0, 0.0]])) for angle in angles
    ]
    assert losses == sorted(losses)


def test_short_vectors_turn_fast():
    keras.utils.set_random_seed(0)
    loss = ArcFace(CLASSES)
    loss.build(4)
    optimizer = keras.optimizers.Adam(1e-3)
    for _ in range(50):
        with tf.GradientTape() as tape:
            value = loss(CLASSES[[2, 0]], np.float32(np.eye(2, 4)))
        variables = loss.layer.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables, strict=True))
    vectors = loss.layer.get_weights()[0]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert vectors[2, 0] > 0.7
    assert vectors[0, 1] > 0.7
