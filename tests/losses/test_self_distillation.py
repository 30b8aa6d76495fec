import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.losses.arc_face import ArcFace
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.losses.cross_batch_memory import CrossBatchMemory
from keras_distill.losses.multi_similarity import MultiSimilarity
from keras_distill.losses.self_distillation import SelfDistillation
from keras_distill.losses.teacher_references import TeacherReferences
from keras_distill.methods.distiller import Distiller

FIRST = 2**24  # float32 cannot tell the labels from here on apart
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(8) // 2


def built(loss=None, **arguments):
    keras.utils.set_random_seed(0)
    made = SelfDistillation(loss or MultiSimilarity(), dims=(6, 9), **arguments)
    made.build(4, feature_dim=5)
    random = np.random.default_rng(1)
    made.layer.set_weights([random.normal(size=w.shape) for w in made.layer.get_weights()])
    return made


def batch(rows=8, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(-1, 3, rows)
    labels = np.where(labels < 0, -1, labels + FIRST)
    embeddings, features = (random.normal(size=(rows, width)) for width in (4, 5))
    return labels, np.float32(embeddings), np.float32(features), random.uniform(0, 3, rows)


def unit(rows):
    rows = np.float64(rows)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def softmax(row):
    exponentials = np.exp(row - row.max())
    return exponentials / exponentials.sum()


def heads(made, features):
    outputs = []
    for hidden, linear in zip(made.layer.hidden, made.layer.linear, strict=True):
        (w, b), (v, c) = hidden.get_weights(), linear.get_weights()
        outputs.append(unit(np.maximum(np.float64(features) @ w + b, 0) @ v + c))
    return outputs


def divergence(vectors, embeddings, temperature, weights):
    total = 0.0
    for i, weight in enumerate(weights):
        p = softmax(np.array([vectors[i] @ other for other in vectors]) / temperature)
        q = softmax(np.array([embeddings[i] @ other for other in embeddings]) / temperature)
        for j in range(len(p)):
            total += weight * p[j] * (np.log(p[j]) - np.log(q[j]))
    return total / len(weights)


def naive(made, labels, embeddings, features, weights=None, taught=None):
    outputs = heads(made, features)
    task = float(made.loss(labels, embeddings, weights))
    of_heads = [
        float(loss(labels, vectors, weights))
        for loss, vectors in zip(made._head_losses, outputs, strict=True)
    ]
    rows = np.ones(len(labels)) if weights is None else weights
    kl = [divergence(v, unit(embeddings), made.temperature, rows) for v in taught or outputs]
    return (task + np.mean(of_heads)) / 2 + made.weight * made.temperature**2 * np.mean(kl)


@pytest.mark.parametrize("rows", [1, 2, 8])
@pytest.mark.parametrize("arguments", [{}, {"weight": 3.0, "temperature": 0.5}])
def test_equals_loops(rows, arguments):
    made = built(**arguments)
    labels, embeddings, features, weights = batch(rows, seed=rows)
    for some in (None, weights, np.where(weights < 1, 0.0, weights)):
        value = made(labels, embeddings, some, features=features)
        expected = naive(made, labels, embeddings, features, some)
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_gradients_equal_finite_differences(numeric_gradient):
    made = built(weight=20.0)
    labels, embeddings, features, _ = batch()
    labels[:] = -1  # the divergence alone
    rows, inputs = tf.constant(embeddings), tf.constant(features)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([rows, inputs])
        value = made(labels, rows, features=inputs)
    expected = numeric_gradient(lambda x: naive(made, labels, x, features), embeddings)
    np.testing.assert_allclose(tape.gradient(value, rows), expected, rtol=1e-3, atol=1e-4)
    # The heads teach, and do not learn from the embedding.
    to_features = tape.gradient(value, inputs, unconnected_gradients="zero")
    np.testing.assert_array_equal(to_features, np.zeros_like(features))


def test_each_head_learns_by_the_loss():
    made = built(BatchHardTriplet(4.0), weight=0.0)
    labels, embeddings, features, _ = batch()
    with tf.GradientTape() as tape:
        value = made(labels, embeddings, features=features)
    gradients = tape.gradient(value, [v.value for v in made.layer.trainable_variables])
    assert len(gradients) == 8
    assert all(np.abs(gradient).max() > 1e-6 for gradient in gradients)


def test_class_vectors_of_each_width():
    made = built(ArcFace([FIRST, FIRST + 1, FIRST + 2], scale=4.0))
    shapes = sorted(tuple(layer.vectors.shape) for layer in made.layer.loss_layers)
    assert shapes == [(3, 4), (3, 6), (3, 9)]
    labels, embeddings, features, weights = batch()
    value = made(labels, embeddings, weights, features=features)
    expected = naive(made, labels, embeddings, features, weights)
    np.testing.assert_allclose(value, expected, rtol=1e-4)


@pytest.mark.parametrize("kind", ["zeros", "equal", "duplicates", "one row"])
@pytest.mark.parametrize("label", [0, -1])
def test_degenerate_batches(kind, label):
    rows = {
        "zeros": np.zeros((4, 5)),
        "equal": np.ones((4, 5)),
        "duplicates": np.eye(4, 5)[[0, 0, 1, 1]],
        "one row": np.ones((1, 5)),
    }[kind]
    made = built(BatchHardTriplet(0.2))
    embeddings, features = tf.constant(np.float32(rows[:, :4])), tf.constant(np.float32(rows))
    with tf.GradientTape() as tape:
        tape.watch([embeddings, features])
        value = made(np.full(len(rows), label), embeddings, features=features)
    variables = [v.value for v in made.layer.trainable_variables]
    found = tape.gradient(value, [embeddings, features, *variables], unconnected_gradients="zero")
    assert np.isfinite(value)
    assert all(np.isfinite(each).all() for each in found)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype, dtype_policy):
    dtype_policy(f"mixed_{dtype}")
    made = built()
    labels, embeddings, features, _ = batch()
    embeddings, features = tf.cast(embeddings, dtype), tf.cast(features, dtype)
    value = made(labels, embeddings, features=features)
    assert value.dtype == "float32"
    full = np.float32(embeddings), np.float32(features)
    np.testing.assert_allclose(value, naive(made, labels, *full), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_it_compiles_for_any_batch_size(jit_compile):
    made = built()
    compiled = tf.function(
        lambda labels, embeddings, features: made(labels, embeddings, features=features),
        jit_compile=jit_compile,
        input_signature=[
            tf.TensorSpec([None], "int64"),
            tf.TensorSpec([None, 4]),
            tf.TensorSpec([None, 5]),
        ],
    )
    for rows in (5, 8):
        labels, embeddings, features, _ = batch(rows)
        expected = made(labels, embeddings, features=features)
        np.testing.assert_allclose(compiled(labels, embeddings, features), expected, rtol=1e-4)


def test_config():
    made = built(ArcFace([FIRST, FIRST + 1, FIRST + 2]), weight=3.0, temperature=0.5, name="own")
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(made)))
    copy = keras.saving.deserialize_keras_object(serialized)
    assert copy.get_config() == made.get_config()
    copy.build(4, feature_dim=5)
    copy.layer.set_weights(made.layer.get_weights())
    labels, embeddings, features, _ = batch()
    assert copy(labels, embeddings, features=features) == made(
        labels, embeddings, features=features
    )
    assert SelfDistillation(BatchHardTriplet()).name == "triplet"


def test_unusable_arguments():
    for dims in ((), (4, 0)):
        with pytest.raises(ValueError, match="must be positive widths"):
            SelfDistillation(BatchHardTriplet(), dims)
    for loss in (CrossBatchMemory(BatchHardTriplet(), 4), TeacherReferences(BatchHardTriplet())):
        with pytest.raises(ValueError, match="one width, which the heads do not have"):
            SelfDistillation(loss)
    made = SelfDistillation(BatchHardTriplet(), dims=[4])
    with pytest.raises(ValueError, match="triplet: SelfDistillation has variables of its own"):
        made([0], np.ones((1, 4)), features=np.ones((1, 4)))
    with pytest.raises(ValueError, match="`feature_dim` is needed"):
        made.build(4)
    made.build(4, feature_dim=4)
    with pytest.raises(ValueError, match=r"`features` are needed.*'trunk'; Distiller"):
        made([0], np.ones((1, 4)))
    with pytest.raises(ValueError, match="give no references"):
        made([0], np.ones((1, 4)), ref_labels=[0], ref_embeddings=np.ones((1, 4)))


def test_a_distiller_trains_keeps_and_drops_the_heads(small_embedder, tmp_path):
    student = small_embedder(image_size=8)
    layer = student.layers[3].name
    loss = SelfDistillation(BatchHardTriplet(0.5), dims=(6, 9), student_layer=layer)
    distiller = Distiller(student, task_loss=loss)
    assert distiller.count_params() > student.count_params()
    before = [variable.numpy() for variable in loss.layer.variables]
    distiller.compile(keras.optimizers.Adam(0.01))
    history = distiller.fit(IMAGES, LABELS, epochs=3, verbose=0).history
    assert sorted(history) == ["loss", "triplet"]
    for variable, former in zip(loss.layer.variables, before, strict=True):
        assert np.abs(variable.numpy() - former).max() > 1e-4
    assert not {id(v) for v in loss.layer.variables} & {id(v) for v in student.variables}
    value = distiller.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)["triplet"]
    features = keras.Model(student.input, student.layers[3].output)(IMAGES)
    expected = naive(loss, LABELS, student(IMAGES).numpy(), np.mean(features, axis=(1, 2)))
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    again = loaded.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)["triplet"]
    np.testing.assert_allclose(again, value, rtol=1e-5)


def test_a_layer_that_is_not_there(small_embedder):
    with pytest.raises(InputError, match="`student_layer='trunk'` is not a layer of `student`"):
        Distiller(small_embedder(image_size=8), task_loss=SelfDistillation(BatchHardTriplet()))
