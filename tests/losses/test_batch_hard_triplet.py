import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_distill.losses.batch_hard_triplet import BatchHardTriplet

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = sorted(path.stem for path in GOLDEN.glob("embdist__triplet_*") if "raises" not in path.stem)


def naive(labels, embeddings, ref_labels=None, ref_embeddings=None, *, margin, sample_weight=None):
    within = ref_labels is None
    if within:
        ref_labels, ref_embeddings = labels, embeddings
    total, anchors = 0.0, 0
    for i, label in enumerate(labels):
        if label < 0:
            continue
        anchors += 1
        positives, negatives = [], []
        for j, ref_label in enumerate(ref_labels):
            distance = np.linalg.norm(np.float64(embeddings[i]) - ref_embeddings[j])
            if ref_label == label:
                positives.append(1e-6 if within and i == j else distance)
            elif ref_label >= 0:
                negatives.append(distance)
        if positives and negatives:
            hinge = max(max(positives) - min(negatives) + margin, 0.0)
            total += hinge * (1.0 if sample_weight is None else sample_weight[i])
    return total / max(anchors, 1)


@pytest.mark.parametrize("case", CASES)
def test_reference(case, value_and_gradient):
    golden = np.load(GOLDEN / f"{case}.npz")
    loss = BatchHardTriplet(json.loads(str(golden["params_json"]))["margin"])
    value, gradient = value_and_gradient(lambda x: loss(golden["labels"], x), golden["emb_s"])
    np.testing.assert_allclose(value, golden["loss_f64"], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, golden["grad_emb_s_f64"], rtol=1e-4, atol=1e-5)


def test_one_class_gives_zero_where_the_reference_raises(value_and_gradient):
    golden = np.load(GOLDEN / "embdist__triplet_single_class_raises.npz")
    value, gradient = value_and_gradient(
        lambda x: BatchHardTriplet(0.5)(golden["labels"], x), golden["emb_s"]
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@settings(max_examples=40)
@given(data=st.data(), margin=st.sampled_from([0.0, 0.2, 3.0]), seed=st.integers(0, 2**32 - 1))
def test_double_loop(data, margin, seed):
    some_labels = st.lists(st.integers(-1, 3), min_size=1, max_size=10)
    labels, ref_labels = data.draw(some_labels), data.draw(some_labels)
    random = np.random.default_rng(seed)
    embeddings = np.float32(random.normal(size=(len(labels), 5)))
    refs = np.float32(random.normal(size=(len(ref_labels), 5)))
    weight = np.float32(random.uniform(0, 3, len(labels)))
    loss = BatchHardTriplet(margin)
    for expected, actual in (
        (naive(labels, embeddings, margin=margin), loss(labels, embeddings)),
        (
            naive(labels, embeddings, margin=margin, sample_weight=weight),
            loss(labels, embeddings, weight),
        ),
        (
            naive(labels, embeddings, ref_labels, refs, margin=margin),
            loss(labels, embeddings, ref_labels=ref_labels, ref_embeddings=refs),
        ),
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64"])
def test_label_types(dtype):
    embeddings = np.random.default_rng(0).normal(size=(6, 4))
    labels = [0, 0, 1, 1, 2, 2]
    np.testing.assert_allclose(
        BatchHardTriplet(1.0)(np.array(labels, dtype), embeddings),
        naive(labels, embeddings, margin=1.0),
        rtol=1e-5,
    )


def test_labels_of_narrow_type_do_not_wrap_the_references():
    embeddings, refs = np.eye(2), np.random.default_rng(0).normal(size=(4, 2))
    labels, ref_labels = np.array([0, 255], "uint8"), np.array([0, 256, 1, -1])
    np.testing.assert_allclose(
        BatchHardTriplet(2.0)(labels, embeddings, ref_labels=ref_labels, ref_embeddings=refs),
        naive(labels, embeddings, ref_labels, refs, margin=2.0),
        rtol=1e-5,
    )


def test_large_labels_stay_distinct():
    labels = [16777216, 16777217, 16777216, 16777217]
    embeddings = np.float32([[0, 0], [1, 0], [0.5, 0], [3, 0]])
    assert BatchHardTriplet(1.0)(labels, embeddings) == 1.125
    assert BatchHardTriplet(1.0)([5] * 4, embeddings) == 0


def test_unlabelled_rows_have_no_part(value_and_gradient):
    random = np.random.default_rng(0)
    labels = np.array([0, -1, 0, 1, -1, 1, 2])
    embeddings = np.float32(random.normal(size=(7, 4)))
    changed = np.where(labels[:, None] < 0, np.float32(random.normal(size=(7, 4))), embeddings)
    loss = BatchHardTriplet(1.0)
    value, gradient = value_and_gradient(lambda x: loss(labels, x), embeddings)
    assert value > 0
    np.testing.assert_array_equal(gradient[labels < 0], 0)
    other_value, other_gradient = value_and_gradient(lambda x: loss(labels, x), changed)
    np.testing.assert_allclose(other_value, value, rtol=1e-6)
    np.testing.assert_allclose(other_gradient, gradient, rtol=1e-5, atol=1e-7)
    kept = labels >= 0
    np.testing.assert_allclose(loss(labels[kept], embeddings[kept]), value, rtol=1e-6)


def test_gradient_reaches_anchors_and_references():
    anchors, refs = tf.constant([[0.0, 0.0]]), tf.constant([[2.0, 0.0], [0.0, 1.0]])
    with tf.GradientTape() as tape:
        tape.watch([anchors, refs])
        value = BatchHardTriplet()([7], anchors, ref_labels=[7, 8], ref_embeddings=refs)
    assert value == 1.0
    to_anchors, to_refs = tape.gradient(value, [anchors, refs])
    np.testing.assert_allclose(to_anchors, [[-1, 1]])
    np.testing.assert_allclose(to_refs, [[1, 0], [0, -1]])


@pytest.mark.parametrize(
    ("labels", "embeddings"),
    [
        ([0, 0, 1, 1], np.zeros((4, 3))),
        ([0, 0, 1, 1], np.ones((4, 3))),
        ([0, 0, 0], np.eye(3)),
        ([0, 1, 2], np.eye(3)),
        ([-1, -1], np.eye(2)),
        ([4], np.ones((1, 2))),
        ([0, 0, 1], [[1e18, 0], [0, 0], [1e-18, 0]]),
    ],
    ids=["zeros", "duplicates", "one class", "singletons", "unlabelled", "one row", "scales"],
)
def test_degenerate_batches_are_finite(labels, embeddings, value_and_gradient):
    value, gradient = value_and_gradient(
        lambda x: BatchHardTriplet(0.2)(labels, x), np.float32(embeddings)
    )
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_precision(dtype):
    random = np.random.default_rng(0)
    labels = np.arange(16) // 4
    embeddings = random.normal(size=(16, 64))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    loss = BatchHardTriplet(0.2)(labels, tf.cast(embeddings, dtype))
    assert loss.dtype == "float32"
    np.testing.assert_allclose(loss, naive(labels, embeddings, margin=0.2), rtol=5e-3)


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_graph_of_unknown_batch_size(jit_compile):
    loss = BatchHardTriplet(0.2)

    @tf.function(
        jit_compile=jit_compile,
        input_signature=[tf.TensorSpec([None], "int64"), tf.TensorSpec([None, 4])],
    )
    def value_and_gradient(labels, embeddings):
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            value = loss(labels, embeddings)
        return value, tape.gradient(value, embeddings)

    for rows in (6, 9):
        embeddings = np.float32(np.random.default_rng(rows).normal(size=(rows, 4)))
        labels = np.arange(rows) // 3
        value, gradient = value_and_gradient(labels, embeddings)
        np.testing.assert_allclose(value, naive(labels, embeddings, margin=0.2), rtol=1e-5)
        assert np.isfinite(gradient).all()


def test_config_round_trip():
    loss = BatchHardTriplet(margin=0.3, name="hard")
    assert loss.get_config() == {"margin": 0.3, "name": "hard"}
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    assert serialized["registered_name"] == "keras_distill>BatchHardTriplet"
    copy = keras.saving.deserialize_keras_object(serialized)
    assert copy.get_config() == loss.get_config()


def test_plain_keras_model():
    labels = np.array([16777216, 16777217, 16777216, 16777217])
    vectors = np.float32([[0, 0], [1, 0], [0.5, 0], [3, 0]])
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(2, kernel_initializer="identity")(inputs))
    model.compile("sgd", loss=BatchHardTriplet(1.0))
    assert model.evaluate(vectors, labels, verbose=0) == pytest.approx(1.125)
    weight = np.array([2.0, 0.0, 0.0, 0.0])
    expected = naive(labels, vectors, margin=1.0, sample_weight=weight)
    assert model.evaluate(vectors, labels, sample_weight=weight, verbose=0) == pytest.approx(
        expected
    )
    history = model.fit(vectors, labels, epochs=5, verbose=0).history["loss"]
    assert history[-1] < history[0] == pytest.approx(1.125)


def test_soft_margin():
    labels = [0, 0, 1, 1, 2, -1]
    embeddings = np.float32(np.random.default_rng(0).normal(size=(6, 3)))
    distances = np.linalg.norm(embeddings[:, None] - embeddings[None], axis=2)
    excesses = [
        max(distances[i, j] for j in range(6) if labels[j] == labels[i])
        - min(distances[i, k] for k in range(6) if labels[k] not in (labels[i], -1))
        for i in range(5)
    ]
    expected = np.mean(np.log1p(np.exp(excesses)))
    assert float(BatchHardTriplet("soft")(labels, embeddings)) == pytest.approx(expected, rel=1e-5)


def test_contract_with_soft_margin(contract):
    contract(BatchHardTriplet("soft"))


def test_unknown_margin():
    with pytest.raises(ValueError, match="`margin='hard'` is neither a number nor 'soft'"):
        BatchHardTriplet("hard")
