import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.models.unit_norm import find_unit_norm, unit_norm


@pytest.fixture(scope="module")
def of_eight():
    return unit_norm(8)


def test_ordinary_vectors(of_eight, value_and_gradient):
    vectors, weights = np.float32(np.random.default_rng(0).normal(size=(2, 6, 8)))
    np.testing.assert_allclose(
        of_eight(vectors), vectors / np.linalg.norm(vectors, axis=1, keepdims=True), rtol=1e-5
    )
    _, gradient = value_and_gradient(lambda x: tf.reduce_sum(weights * of_eight(x)), vectors)
    for row, weight, actual in zip(vectors, weights, gradient, strict=True):
        length = np.linalg.norm(row)
        jacobian = (np.eye(8) - np.outer(row, row) / length**2) / length
        np.testing.assert_allclose(actual, jacobian @ weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e-7, 1e15, 1e30])
def test_scale_does_not_matter(of_eight, scale):
    vectors = np.random.default_rng(0).normal(size=(6, 8))
    expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(of_eight(np.float32(scale * vectors)), expected, atol=1e-6)


def test_zero_vector(of_eight, value_and_gradient):
    vectors = np.zeros((3, 8), "float32")
    vectors[1, 2] = 5
    value, gradient = value_and_gradient(lambda x: tf.reduce_sum(of_eight(x)), vectors)
    assert value == 1
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_float32_under_every_policy(policy, dtype_policy):
    dtype_policy(policy)
    layer = unit_norm(8)
    vectors = np.float16(np.random.default_rng(0).normal(size=(4, 8)))
    unit = layer(keras.ops.convert_to_tensor(vectors))
    assert unit.dtype == "float32"
    expected = np.float32(vectors)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, expected, atol=1e-6)


def test_has_no_weights_and_a_known_width(of_eight):
    assert of_eight.weights == []
    assert of_eight.output_shape == (None, 8)
    assert of_eight.name == "unit_norm"


def vectors_of(*layers):
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D(name="pooling")(image)
    for layer in layers:
        x = layer(x)
    return keras.Model(image, x, name="net")


def test_the_layer_that_normalises_is_found(tmp_path):
    head = keras.layers.Dense(4)
    model = vectors_of(head, unit_norm(4))
    assert find_unit_norm(model) is model.get_layer("unit_norm")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert find_unit_norm(loaded) is loaded.get_layer("unit_norm")
    layer = keras.layers.UnitNormalization()
    assert find_unit_norm(vectors_of(head, layer)) is layer
    assert find_unit_norm(vectors_of(head)) is None
    assert find_unit_norm(vectors_of(keras.layers.LayerNormalization())) is None


def test_a_normalisation_of_another_kind_is_not_taken_for_none():
    def divided(x):
        return x / keras.ops.norm(x, axis=-1, keepdims=True)

    for last in (divided, keras.layers.Lambda(divided)):
        with pytest.raises(InputError) as error:
            find_unit_norm(vectors_of(keras.layers.Dense(4), last))
        assert str(error.value).startswith("`model` 'net' ends by dividing its vectors by their le")
        assert "end it with keras.layers.UnitNormalization()" in str(error.value)
