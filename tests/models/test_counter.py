import keras
import numpy as np
import pytest

from keras_distill import InputError, build_counter, build_embedder

TINY = {"alpha": 0.25, "image_size": 64, "backbone_weights": "none"}


def images(height=64, width=64):
    return np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)


def counter():
    keras.utils.set_random_seed(0)
    return build_counter("mobilenet", **TINY, backbone_layer="conv_pw_11_relu")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_outputs_are_float32_under_every_policy(dtype_policy, policy):
    dtype_policy(policy)
    for output in counter()(images()).values():
        assert output.dtype == "float32"
        assert np.isfinite(output).all()


def test_the_count_is_the_sum_of_the_density():
    found = counter()(images())
    assert found["density"].shape == (2, 4, 4, 1)
    np.testing.assert_allclose(
        found["count"][:, 0], found["density"].numpy().sum((1, 2, 3)), rtol=1e-5
    )


def test_a_vector_has_no_density():
    embedder = build_embedder("mobilenet", **TINY, embedding_dim=8)
    with pytest.raises(InputError, match="a density map needs a feature map"):
        build_counter(embedder, backbone_layer="pooling")
