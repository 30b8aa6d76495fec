import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.models.embedder import build_embedder
from keras_distill.models.fused_batch_norm import fuse_batch_norm

SHAPE = (8, 6, 5, 4)
INPUTS = np.random.default_rng(0).normal(1, 3, SHAPE).astype(np.float32)
TOWARDS = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)


def one_layer(**arguments):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input(SHAPE[1:]), keras.layers.BatchNormalization(momentum=0.7, **arguments)]
    )
    rng = np.random.default_rng(2)
    model.set_weights([rng.uniform(0.5, 2, w.shape) for w in model.get_weights()])
    return model


def step(model, jit_compile):
    @tf.function(jit_compile=jit_compile)
    def step(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = model(inputs, training=True)
            loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * TOWARDS)
        return outputs, *tape.gradient(loss, [inputs, *model.trainable_weights])

    return step(tf.constant(INPUTS))


def is_fused(model):
    return ["call" in vars(layer) for layer in model.layers]


@pytest.mark.quick(3)
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    ("policy", "tolerance"),
    [("float32", 1e-5), ("mixed_float16", 2e-3), ("mixed_bfloat16", 2e-2)],
)
@pytest.mark.parametrize(
    "arguments", [{"epsilon": 1e-6}, {"scale": False}, {"center": False, "epsilon": 0.1}]
)
def test_equals_what_keras_composes(arguments, policy, tolerance, jit_compile):
    composed, fused = one_layer(dtype=policy, **arguments), one_layer(dtype=policy, **arguments)
    fuse_batch_norm(fused)
    assert is_fused(fused) == [True]
    for expected, found in zip(step(composed, jit_compile), step(fused, jit_compile), strict=True):
        assert found.dtype == expected.dtype
        expected, found = np.float32(expected), np.float32(found)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=10 * tolerance)
    for expected, found in zip(composed.get_weights(), fused.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)  # moving statistics too
    np.testing.assert_allclose(
        np.float32(fused(INPUTS)), np.float32(composed(INPUTS)), rtol=tolerance, atol=tolerance
    )


def test_frozen_layer_keeps_its_statistics():
    model = one_layer()
    fuse_batch_norm(model)
    model.trainable = False
    before = model.get_weights()
    found = model(INPUTS, training=True)
    np.testing.assert_allclose(found, one_layer()(INPUTS), rtol=1e-5, atol=1e-5)
    np.testing.assert_equal(model.get_weights(), before)


@pytest.mark.parametrize(
    "arguments", [{"axis": 1}, {"axis": 2}, {"renorm": True}, {"synchronized": True}]
)
def test_other_layers_stay_as_they_are(arguments):
    model = one_layer(**arguments)
    expected = one_layer(**arguments)(INPUTS)
    fuse_batch_norm(model)
    np.testing.assert_allclose(model(INPUTS), expected, rtol=1e-6)


def test_vectors_are_normalised_as_before():
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    expected = model(INPUTS[:, 0, 0], training=True)
    fuse_batch_norm(model)
    np.testing.assert_allclose(model(INPUTS[:, 0, 0], training=True), expected, rtol=1e-6)


def test_saved_model_is_made_of_keras_layers_alone(tmp_path, run_warm_python):
    model = build_embedder("mobilenet", alpha=0.25, image_size=32, backbone_weights="none")
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    expected = model(images)
    fuse_batch_norm(model)
    fuse_batch_norm(model)  # once is enough, twice does no harm
    np.testing.assert_allclose(model(images), expected, atol=1e-5)
    model.save(tmp_path / "m.keras")
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "expected.npy", expected)
    run_warm_python(
        "import sys, keras, numpy as np\n"
        f"model = keras.models.load_model({str(tmp_path / 'm.keras')!r})\n"
        f"found = model(np.load({str(tmp_path / 'images.npy')!r}))\n"
        f"expected = np.load({str(tmp_path / 'expected.npy')!r})\n"
        "np.testing.assert_allclose(found, expected, atol=1e-5)\n"
        "assert not any(name.startswith('keras_distill') for name in sys.modules)\n"
    )
