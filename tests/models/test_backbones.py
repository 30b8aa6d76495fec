import contextlib
import urllib.error

import keras
import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.models.backbones import BACKBONES, build_backbone

TINY = {"image_size": 32, "alpha": 0.25}


@pytest.fixture(scope="module")
def mobilenet():
    return build_backbone("mobilenet", weights="none", **TINY)


@pytest.fixture(scope="module")
def weights_file(mobilenet, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    mobilenet.save_weights(path)
    return path


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "efficientnet_v2_b0"])
def test_own_scaling_is_switched_off(name):
    backbone = build_backbone(name, image_size=32, weights="none")
    assert backbone.name == "trunk"
    kinds = {type(layer) for layer in backbone.layers}
    assert not kinds & {keras.layers.Rescaling, keras.layers.Normalization}
    pixels = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    assert backbone(pixels).shape == (2, 1, 1, backbone.output_shape[-1])


def test_unknown_name():
    with pytest.raises(InputError, match=r"name='vgg'` is unknown; choose one of resnet50, "):
        build_backbone("vgg", image_size=32, weights="none")


@pytest.mark.quick(1)
@pytest.mark.parametrize("image_size", [BACKBONES["mobilenet"].image_size, 32])
def test_weights_file(image_size, mobilenet, weights_file):
    backbone = build_backbone(
        "mobilenet", image_size=image_size, alpha=0.25, weights=str(weights_file)
    )
    for loaded, saved in zip(backbone.get_weights(), mobilenet.get_weights(), strict=True):
        np.testing.assert_array_equal(loaded, saved)


@pytest.mark.parametrize(
    "arguments", [{"alpha": 0.5}, {"name": "mobilenet_v2"}, {"name": "mobilenet_v3_small"}]
)
def test_weights_of_another_backbone(arguments, weights_file):
    arguments = {"name": "mobilenet", "image_size": 32, "alpha": 1.0, **arguments}
    with pytest.raises(
        InputError,
        match=rf"(?s)weights='.*mobilenet\.weights\.h5'` does not fit {arguments['name']} ",
    ):
        build_backbone(weights=str(weights_file), **arguments)


def test_damaged_weights_files(mobilenet, weights_file, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.applications, "MobileNet", lambda **_: mobilenet)
    content, random = weights_file.read_bytes(), np.random.default_rng(0)
    damaged = tmp_path / "damaged.weights.h5"
    for _ in range(20):
        start = random.integers(2000)
        noise = random.bytes(64)
        damaged.write_bytes(content[:start] + noise + content[start + 64 :])
        with contextlib.suppress(InputError):  # nothing else
            build_backbone("mobilenet", weights=str(damaged), **TINY)
    for part in (0, 100, len(content) // 2):
        damaged.write_bytes(content[:part])
        with pytest.raises(InputError, match=r"does not fit mobilenet with `alpha=0\.25"):
            build_backbone("mobilenet", weights=str(damaged), **TINY)


def test_inner_layer(mobilenet, weights_file):
    backbone = build_backbone(
        "mobilenet", weights=str(weights_file), layer="conv_pw_3_relu", **TINY
    )
    assert backbone.output_shape == (None, 8, 8, 32)
    whole = {weight.path: weight for weight in mobilenet.weights}
    assert 0 < len(backbone.weights) < len(whole)
    for weight in backbone.weights:
        np.testing.assert_array_equal(weight, whole[weight.path])


def test_unknown_inner_layer():
    with pytest.raises(InputError, match=r"layer='conv9'` is not .*conv_pw_3_relu, "):
        build_backbone("mobilenet", weights="none", layer="conv9", **TINY)


def test_file_of_another_kind(tmp_path):
    path = tmp_path / "weights.txt"
    path.write_text("no weights")
    with pytest.raises(InputError, match=r"weights\.txt'` does not fit mobilenet"):
        build_backbone("mobilenet", weights=str(path), **TINY)


def test_imagenet_weights_that_cannot_be_fetched(monkeypatch):
    def unreachable(**_):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(keras.applications, "MobileNet", unreachable)
    with pytest.raises(InputError, match=r"no route to host.*path of a \.weights\.h5 file"):
        build_backbone("mobilenet", weights="imagenet", **TINY)
