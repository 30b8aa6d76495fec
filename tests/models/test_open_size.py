import keras
import numpy as np
import pytest

from keras_distill import InputError, build_counter, build_scorer, with_open_size

TINY = {"alpha": 0.25, "image_size": 64, "backbone_weights": "none"}


def images(height=64, width=64):
    return np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)


def counter():
    keras.utils.set_random_seed(0)
    return build_counter("mobilenet", **TINY, backbone_layer="conv_pw_11_relu")


@pytest.mark.slow
def test_open_sizes_give_the_same_at_the_former_size_and_maps_of_any():
    model = counter()
    opened = with_open_size(model)
    for name, expected in model(images()).items():
        np.testing.assert_allclose(opened(images())[name], expected, rtol=1e-5, atol=1e-6)
    found = opened(images(96, 160))
    assert found["density"].shape == (2, 6, 10, 1)
    scorer = with_open_size(build_scorer("mobilenet", **TINY))
    assert scorer(images(96, 160))["score"].shape == (2, 1)
    model.get_layer("density").set_weights(
        [w * 0 for w in model.get_layer("density").get_weights()]
    )
    assert np.abs(opened(images())["density"]).max() > 0  # weights of its own


def test_a_model_that_flattens_is_refused():
    image = keras.Input((64, 64, 3), name="image")
    flat = keras.layers.Dense(2)(keras.layers.Flatten()(image))
    with pytest.raises(InputError, match="cannot take images of another size than 64"):
        with_open_size(keras.Model(image, {"score": flat}))
