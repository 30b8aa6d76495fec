import keras
import numpy as np
import pytest

from keras_distill.models.projection import build_projection


@pytest.fixture
def vectors():
    return np.float32(np.random.default_rng(0).normal(size=(6, 5)))


def test_is_a_linear_map_and_the_unit_norm(vectors):
    projection = build_projection(5, 3, name="into_the_teacher")
    rng = np.random.default_rng(1)
    kernel, bias = rng.normal(size=(5, 3)), rng.normal(size=3)
    projection.get_layer("linear").set_weights([kernel, bias])
    expected = vectors @ kernel + bias
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(projection(vectors), expected, rtol=1e-5, atol=1e-6)
    assert (projection.input_shape, projection.output_shape) == ((None, 5), (None, 3))
    assert projection.name == "into_the_teacher"
    assert [weight.shape for weight in projection.trainable_weights] == [(5, 3), (3,)]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_float32_under_every_policy(policy, vectors, dtype_policy):
    dtype_policy(policy)
    projection = build_projection(5, 3)
    kernel, _ = projection.get_layer("linear").get_weights()
    expected = vectors @ kernel
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    answer = projection(vectors)
    assert answer.dtype == "float32"
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_file_gives_the_same_whatever_the_policy(policy, vectors, dtype_policy, tmp_path):
    dtype_policy(policy)
    projection = build_projection(5, 3)
    projection.save(tmp_path / "projection.keras")
    expected = projection(vectors)
    dtype_policy("float32")
    loaded = keras.models.load_model(tmp_path / "projection.keras")
    np.testing.assert_array_equal(loaded(vectors), expected)
