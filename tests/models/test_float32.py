import keras
import numpy as np
import pytest

from keras_distill.models.embedder import build_embedder
from keras_distill.models.float32 import as_float32

SMALL = {"alpha": 0.25, "image_size": 32, "embedding_dim": 8, "backbone_weights": "none"}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


def policies(model):
    layers = model._flatten_layers(include_self=False)
    return {layer.dtype_policy.name for layer in layers}


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_model(policy, images, dtype_policy):
    dtype_policy(policy)
    mixed = build_embedder("mobilenet", name="student", **SMALL)
    random = np.random.default_rng(0)
    mixed.set_weights([w + random.uniform(0, 0.1, w.shape) for w in mixed.get_weights()])
    dtype_policy("float32")
    assert policies(mixed) >= {policy}
    before = mixed(images, training=False).numpy()

    rebuilt = as_float32(mixed)
    assert policies(rebuilt) == {"float32"}
    assert rebuilt.name == "student"
    assert [tensor.name for tensor in rebuilt.inputs] == ["image"]
    for weight, original in zip(rebuilt.weights, mixed.weights, strict=True):
        assert weight.dtype == "float32"
        np.testing.assert_array_equal(weight, original)

    built_in_float32 = build_embedder("mobilenet", **SMALL)
    built_in_float32.set_weights(mixed.get_weights())
    expected = built_in_float32(images, training=False)
    np.testing.assert_allclose(rebuilt(images, training=False), expected, atol=1e-6)
    assert policies(mixed) >= {policy}
    np.testing.assert_array_equal(mixed(images, training=False), before)


def test_half_precision_weights(dtype_policy):
    dtype_policy("bfloat16")
    image = keras.Input((8, 8, 3), dtype="float32")
    half = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(image)))
    rebuilt = as_float32(half)
    assert {weight.dtype for weight in rebuilt.weights} == {"float32"}
    for weight, original in zip(rebuilt.get_weights(), half.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, original.astype("float32"))


def test_float32_model_is_returned_as_it_is(small_embedder):
    model = small_embedder()
    assert as_float32(model) is model
