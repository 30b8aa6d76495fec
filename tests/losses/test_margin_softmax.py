import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.losses.arc_face import ArcFace
from keras_distill.losses.margin_softmax import MarginSoftmax

RANDOM = np.random.default_rng(0)
COSINES = np.float32(RANDOM.uniform(-1, 1, (7, 3)))
LABELS = np.array([0, 2, 1, -1, 2, 0, 1])


def naive(labels, cosines, margin, scale):
    total, count = 0.0, 0
    for label, row in zip(labels, np.float64(cosines), strict=True):
        if label < 0:
            continue
        angle = np.arccos(row[label])
        own = np.cos(angle + margin)
        if angle + margin > np.pi:
            own = row[label] - margin * np.sin(margin)
        others = sum(np.exp(scale * c) for i, c in enumerate(row) if i != label)
        total -= np.log(np.exp(scale * own) / (np.exp(scale * own) + others))
        count += 1
    return total / max(count, 1)


@pytest.mark.parametrize(("margin", "scale"), [(0.0, 20.0), (0.5, 16.0), (0.2, 5.0)])
def test_equals_loops(margin, scale):
    loss = MarginSoftmax(3, margin, scale)
    expected = naive(LABELS, COSINES, margin, scale)
    np.testing.assert_allclose(loss(LABELS, scale * COSINES), expected, rtol=1e-4)


def test_it_is_arc_face_on_the_logits_of_its_class_vectors():
    embeddings, vectors = RANDOM.normal(size=(7, 4)), RANDOM.normal(size=(3, 4))
    arc_face = ArcFace(range(3))
    arc_face.build(4)
    arc_face.layer.set_weights([vectors])
    rows, columns = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (embeddings, vectors))
    value = MarginSoftmax(3)(LABELS, 64.0 * rows @ columns.T)
    np.testing.assert_allclose(value, arc_face(LABELS, embeddings), rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_extreme_logits_are_finite(dtype, value_and_gradient):
    for row in ([1, 1, 1], [-1, -1, -1], [1, -1, 0], [0, 0, 0]):
        logits = 64.0 * np.tile(np.float32(row), (7, 1))
        loss = MarginSoftmax(3)
        value, gradient = value_and_gradient(lambda x, f=loss: f(LABELS, tf.cast(x, dtype)), logits)
        assert value.dtype == "float32"
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(gradient[LABELS < 0], 0)
    assert float(MarginSoftmax(3)(np.full(7, -1), 64 * COSINES)) == 0


def test_config_and_unusable_arguments():
    loss = MarginSoftmax(3, 0.1, 9.0, name="own")
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    copy = keras.saving.deserialize_keras_object(serialized)
    assert copy.get_config() == loss.get_config()
    for arguments in ({"classes": 1}, {"classes": 3, "margin": 4}, {"classes": 3, "scale": 0}):
        with pytest.raises(InputError, match="must be 2 or more"):
            MarginSoftmax(**arguments)
