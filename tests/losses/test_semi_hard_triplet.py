import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill import SemiHardTriplet


def naive(labels, embeddings, margin, ref_labels=None, ref_embeddings=None):
    within = ref_labels is None
    ref_labels = labels if within else ref_labels
    ref_embeddings = embeddings if within else ref_embeddings
    distance = np.linalg.norm(embeddings[:, None] - ref_embeddings[None], axis=2)
    anchors = []
    for i, label in enumerate(labels):
        if label < 0:
            continue
        negatives = distance[i, (ref_labels != label) & (ref_labels >= 0)]
        hinges = []
        for j in np.flatnonzero(ref_labels == label):
            if (within and i == j) or not len(negatives):
                continue
            farther = negatives[negatives > distance[i, j]]
            negative = farther.min() if len(farther) else negatives.max()
            hinges.append(max(0.0, distance[i, j] - negative + margin))
        anchors.append(np.mean(hinges) if hinges else 0.0)
    return np.mean(anchors)


@pytest.mark.parametrize("seed", range(5))
def test_equals_a_double_loop(seed):
    random = np.random.default_rng(seed)
    labels = random.integers(-1, 4, 20)
    embeddings = random.normal(size=(20, 3))
    value = float(SemiHardTriplet(0.3)(labels, embeddings))
    assert value == pytest.approx(naive(labels, embeddings, 0.3), rel=1e-5)


def test_compares_with_references():
    random = np.random.default_rng(0)
    labels, ref_labels = random.integers(0, 3, 6), random.integers(-1, 4, 15)
    embeddings, refs = random.normal(size=(6, 4)), random.normal(size=(15, 4))
    value = SemiHardTriplet(0.5)(labels, embeddings, ref_labels=ref_labels, ref_embeddings=refs)
    assert float(value) == pytest.approx(naive(labels, embeddings, 0.5, ref_labels, refs), rel=1e-5)


def test_a_negative_as_far_as_the_positive_is_not_farther():
    labels, points = [5, 5, 1, 2], [[0.0], [1.0], [-1.0], [3.0]]
    # The anchor at 0 meets the negative at 3; the one at 1 those at -1 and 3, as far as each other.
    expected = (max(0.0, 1 - 3 + 2.5) + max(0.0, 1 - 2 + 2.5)) / 4
    assert float(SemiHardTriplet(2.5)(labels, points)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("labels", "embeddings"),
    [
        ([0, 0, 0], np.eye(3)),
        ([0, 1, 2], np.eye(3)),
        ([-1, -1, -1], np.eye(3)),
        ([0, 0, 1, 1], np.zeros((4, 2))),
        ([0, 0, 1, 1], np.ones((4, 2))),
    ],
)
def test_degenerate_batches_have_finite_losses_and_gradients(labels, embeddings):
    embeddings = tf.Variable(embeddings, dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = SemiHardTriplet()(labels, embeddings)
    assert np.isfinite(loss)
    assert np.isfinite(tape.gradient(loss, embeddings)).all()


def test_gradient_equals_finite_differences():
    random = np.random.default_rng(3)
    labels, embeddings = random.integers(0, 3, 9), random.normal(size=(9, 2))
    variable = tf.Variable(embeddings, dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = SemiHardTriplet(0.4)(labels, variable)
    gradient = tape.gradient(loss, variable).numpy()
    step = 1e-6
    for index in np.ndindex(embeddings.shape):
        shifted = [embeddings.copy(), embeddings.copy()]
        shifted[0][index] -= step
        shifted[1][index] += step
        low, high = (naive(labels, points, 0.4) for points in shifted)
        assert gradient[index] == pytest.approx((high - low) / (2 * step), abs=1e-4)


def test_survives_serialisation_and_compilation():
    loss = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(SemiHardTriplet(0.7, name="semi"))
    )
    assert (loss.margin, loss.name) == (0.7, "semi")
    labels, embeddings = np.arange(8) // 2, np.random.default_rng(0).normal(size=(8, 2))
    expected = float(loss(labels, embeddings))
    for jit_compile in (False, True):
        compiled = tf.function(loss, jit_compile=jit_compile)
        value = compiled(tf.constant(labels), tf.constant(embeddings, tf.float32))
        assert float(value) == pytest.approx(expected, rel=1e-5)
