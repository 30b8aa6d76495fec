import keras
import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.models.embedder import build_embedder
from keras_distill.teachers.inner_layer import end_at_layer


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def embedder():
    embedder = build_embedder(
        "mobilenet", alpha=0.25, image_size=32, embedding_dim=8, backbone_weights="none"
    )
    # Large enough that the pixels are not lost on their way through untrained layers.
    random = np.random.default_rng(0)
    embedder.set_weights([w + random.uniform(0, 0.1, w.shape) for w in embedder.get_weights()])
    return embedder


def unit(vectors):
    vectors = np.asarray(vectors)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("layer", "dim"),
    [
        ("head", 8),
        ("pooling", 256),
        ("trunk", 256),
        ("conv_pw_13_relu", 256),
        ("trunk/conv_pw_5_relu", 64),
        ("scale", 3),
        ("unit_norm", 8),
    ],
)
def test_agrees_with_the_layers_by_hand(layer, dim, embedder, images):
    pixels = embedder.get_layer("preprocessing")(images)
    backbone = embedder.get_layer("trunk")
    inner = layer.removeprefix("trunk/")
    if inner.startswith("conv"):
        expected = keras.Model(backbone.input, backbone.get_layer(inner).output)(pixels)
    else:
        expected = pixels
        for name in ("trunk", "pooling", "head", "unit_norm"):
            if layer != "scale":
                expected = embedder.get_layer(name)(expected)
            if layer in ("scale", name):
                break
    if len(expected.shape) == 4:
        expected = np.mean(expected, axis=(1, 2))
    model = end_at_layer(embedder, layer)
    assert model.output_shape == (None, dim)
    answer = model(images, training=False)
    assert answer.dtype == "float32"
    np.testing.assert_allclose(answer, unit(expected), atol=1e-5)


def sequential():
    inner = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(2, 1, name="conv")])
    inner.name = "inner"
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.AveragePooling2D(2, name="half"),
            inner,
            keras.layers.Flatten(name="flat"),
        ]
    )


@pytest.mark.parametrize("layer", ["conv", "inner", "inner/conv", "half", "flat"])
def test_sequential(layer):
    model = sequential()
    images = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 3)).astype("float32")
    expected = images.reshape(3, 4, 2, 4, 2, 3).mean((2, 4))
    if layer != "half":
        expected = model.get_layer("inner")(expected).numpy()
    expected = expected.reshape(3, -1) if layer == "flat" else expected.mean((1, 2))
    np.testing.assert_allclose(end_at_layer(model, layer)(images), unit(expected), atol=1e-5)


def test_loaded_models(tmp_path, images, embedder):
    for model, layer, pixels in (
        (embedder, "conv_pw_5_relu", images),
        (sequential(), "conv", images[:, :8, :8]),
    ):
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(
            end_at_layer(loaded, layer)(pixels), end_at_layer(model, layer)(pixels), atol=1e-6
        )


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_pools_and_normalises_in_float32(policy, dtype_policy):
    dtype_policy(policy)
    image = keras.Input((64, 64, 3))
    model = keras.Model(image, keras.layers.Rescaling(256.0, dtype="float32", name="huge")(image))
    pixels = np.full((1, 64, 64, 3), [3, 4, 0], "uint8")
    answer = end_at_layer(model, "huge")(pixels)
    assert answer.dtype == "float32"
    np.testing.assert_allclose(answer, [[0.6, 0.8, 0]], atol=1e-6)


def test_any_size():
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(image)
    model = end_at_layer(keras.Model(image, keras.layers.GlobalMaxPooling2D()(x)), "conv")
    assert model.input_shape == (None, None, None, 3)
    assert model(np.ones((2, 9, 9, 3))).shape == (2, 4)


def test_weights_are_shared(embedder, images):
    model = end_at_layer(embedder, "trunk/conv1_relu")
    assert model.weights[0] is embedder.get_layer("trunk").get_layer("conv1").weights[0]


def test_wrong_name(embedder):
    message = r"^`layer='haed'` is not a layer of `model` 'embedder' with .*; its last ones are "
    with pytest.raises(InputError, match=message) as caught:
        end_at_layer(embedder, "haed")
    names = str(caught.value).partition("its last ones are ")[2].rstrip(".").split(", ")
    assert len(names) == 20
    assert names[-4:] == ["trunk/conv_pw_13_relu", "pooling", "head", "unit_norm"]
    with pytest.raises(InputError, match=r"; these are half, inner, inner/conv, flat.$"):
        end_at_layer(sequential(), "pixels")


def test_ambiguous_name():
    def inner(name):
        x = keras.Input((8, 8, 3))
        return keras.Model(x, keras.layers.ReLU(name="relu")(x), name=name)

    image = keras.Input((8, 8, 3))
    two = keras.Model(image, inner("b")(inner("a")(image)))
    with pytest.raises(
        InputError, match=r"^`layer='relu'` is ambiguous in .*; give one of a/relu, b"
    ):
        end_at_layer(two, "relu")
    assert end_at_layer(two, "b/relu").output_shape == (None, 3)
    outer = keras.Model(image, keras.layers.ReLU(6.0, name="relu")(two(image)), name="outer")
    pixels = np.full((1, 8, 8, 3), [3, 40, 0], "float32")
    np.testing.assert_allclose(end_at_layer(outer, "relu")(pixels), unit([[3, 6, 0]]), atol=1e-6)


def test_layers_without_vectors_are_no_candidates():
    image = keras.Input((4, 4, 3))
    x = keras.layers.Reshape((16, 3), name="tokens")(image)
    model = keras.Model(image, keras.layers.Flatten(name="flat")(x))
    with pytest.raises(InputError, match=r"these are flat\.$"):
        end_at_layer(model, "tokens")


def test_two_inputs():
    images = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    model = keras.Model(images, keras.layers.Add(name="sum")(images), name="two")
    with pytest.raises(InputError, match=r"^`model` 'two' has 2 inputs, not one"):
        end_at_layer(model, "sum")
