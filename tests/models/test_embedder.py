import keras
import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.models.backbones import BACKBONES
from keras_distill.models.embedder import build_embedder

SMALL = {"alpha": 0.25, "image_size": 32, "embedding_dim": 8, "backbone_weights": "none"}
PREPROCESS_INPUT = {
    "resnet": keras.applications.resnet.preprocess_input,
    "mobilenet": keras.applications.mobilenet.preprocess_input,
    # The next three scale themselves; this is how, according to their documentation.
    "mobilenet_v3": lambda x: keras.applications.imagenet_utils.preprocess_input(x, mode="tf"),
    "efficientnet": lambda x: keras.applications.imagenet_utils.preprocess_input(x, mode="torch"),
    "convnext": lambda x: keras.applications.imagenet_utils.preprocess_input(x, mode="torch"),
}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def embedder():
    return build_embedder("mobilenet", **SMALL)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_contract(policy, images, dtype_policy):
    dtype_policy(policy)
    embedder = build_embedder("mobilenet", name="student", **SMALL)
    # An untrained MobileNet shrinks its pixels to 1e-12, which float16 does not hold.
    random = np.random.default_rng(0)
    embedder.set_weights([w + random.uniform(0, 0.1, w.shape) for w in embedder.get_weights()])
    assert embedder.name == "student"
    assert [tensor.name for tensor in embedder.inputs] == ["image"]
    assert embedder.input_shape == (None, 32, 32, 3)
    assert embedder.output_shape == (None, 8)
    embeddings = embedder(images, training=False)
    assert embeddings.dtype == "float32"
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(embedder(np.float32(images), training=False), embeddings)
    np.testing.assert_allclose(
        embedder(np.float64(images), training=False), embeddings, rtol=1e-5, atol=1e-6
    )
    pixels = embedder.get_layer("preprocessing")(images)
    assert pixels.dtype == "float32"
    np.testing.assert_allclose(pixels, images / 127.5 - 1, atol=1e-6)


def test_file_needs_nothing_but_keras(images, embedder, tmp_path, run_warm_python):
    embedder.save(tmp_path / "embedder.keras")
    np.save(tmp_path / "images.npy", images)
    code = """
import sys
from pathlib import Path
folder = Path(sys.argv[1])
sys.modules["keras_distill"] = None  # importing it would fail
import keras
import numpy as np

def embed():
    model = keras.models.load_model(folder / "embedder.keras")
    return model(np.load(folder / "images.npy"), training=False).numpy()

alone = embed()
del sys.modules["keras_distill"]
import keras_distill
np.save(folder / "embeddings.npy", [alone, embed()])
"""
    run_warm_python(code, tmp_path)
    for embeddings in np.load(tmp_path / "embeddings.npy"):
        np.testing.assert_allclose(embeddings, embedder(images, training=False), atol=1e-6)


def test_dropout_is_before_the_head_and_in_training_only(images, embedder, tmp_path):
    dropping = build_embedder("mobilenet", dropout=0.5, **SMALL)
    dropping.set_weights(embedder.get_weights())
    dropping.save(tmp_path / "dropping.keras")
    loaded = keras.models.load_model(tmp_path / "dropping.keras")
    for model in (dropping, loaded):
        np.testing.assert_array_equal(model(images), embedder(images))
        pooled, dropped = model.get_layer("dropout").input, model.get_layer("head").input
        assert pooled is model.get_layer("pooling").output
        features = np.ones((4, 1000), "float32")
        answer = model.get_layer("dropout")(features, training=True).numpy()
        assert set(np.unique(answer)) == {0, 2}
        assert (answer == 0).mean() == pytest.approx(0.5, abs=0.05)
        assert dropped is model.get_layer("dropout").output
    assert "dropout" not in [layer.name for layer in embedder.layers]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dropout": 1.0}, r"`dropout=1.0` must be from 0 to below 1"),
        ({"dropout": -0.1}, r"`dropout=-0.1` must be from 0 to below 1"),
        ({"dropout": 0.4, "embedding_dim": 0}, "`dropout=0.4` comes before the head"),
    ],
)
def test_unusable_dropout(arguments, said):
    with pytest.raises(InputError, match=said):
        build_embedder("mobilenet", **{**SMALL, **arguments})


def test_without_head(images):
    pooled = build_embedder("mobilenet", **{**SMALL, "embedding_dim": 0})
    assert pooled.output_shape == (None, 256)
    assert pooled.layers[-2].name == "pooling"
    np.testing.assert_allclose(np.linalg.norm(pooled(images), axis=1), 1, rtol=1e-6)


def test_pooling_of_an_inner_layer(images):
    inner = build_embedder("mobilenet", backbone_layer="conv_pw_3_relu", **SMALL)
    assert inner.get_layer("trunk").output_shape == (None, 8, 8, 32)
    assert inner.get_layer("head").kernel.shape == (32, 8)
    np.testing.assert_allclose(np.linalg.norm(inner(images), axis=1), 1, rtol=1e-6)


@pytest.mark.quick(3)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_preprocessing_is_that_of_keras_applications(backbone, images, monkeypatch):
    arguments = {}

    def stub(*, input_shape, **others):
        arguments.update(others)
        image = keras.Input(input_shape)
        return keras.Model(image, keras.layers.MaxPooling2D(32)(image))

    monkeypatch.setattr(keras.applications, BACKBONES[backbone].constructor, stub)
    embedder = build_embedder(backbone, image_size=32, embedding_dim=0, backbone_weights="none")
    assert arguments.pop("include_top") is False
    assert arguments.pop("weights") is None
    assert arguments.pop("include_preprocessing", False) is False
    assert arguments == ({"alpha": 1.0} if backbone.startswith("mobilenet") else {})
    family = max((name for name in PREPROCESS_INPUT if backbone.startswith(name)), key=len)
    pixels = embedder.get_layer("preprocessing")(images)
    expected = PREPROCESS_INPUT[family](np.float32(images))
    np.testing.assert_allclose(pixels, expected, rtol=1e-5, atol=1e-4)
    assert embedder.get_layer("trunk").output_shape == (None, 1, 1, 3)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_agrees_with_keras_applications(backbone, images, tmp_path, monkeypatch):
    embedder = build_embedder(backbone, image_size=32, embedding_dim=0, backbone_weights="none")
    # Other values than the initial ones, among which are many zeros.
    random = np.random.default_rng(0)
    embedder.set_weights([w + random.normal(0, 0.01, w.shape) ** 2 for w in embedder.get_weights()])
    application = getattr(keras.applications, BACKBONES[backbone].constructor)(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )
    application.set_weights(embedder.get_weights())
    pixels = np.float32(images)
    if backbone.startswith("resnet"):
        pixels = keras.applications.resnet.preprocess_input(pixels)
    elif backbone in ("mobilenet", "mobilenet_v2"):
        pixels = keras.applications.mobilenet.preprocess_input(pixels)
    expected = application(pixels, training=False).numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(embedder(images, training=False), expected, atol=1e-5)
    embedder.save(tmp_path / "embedder.keras")
    copy = keras.models.load_model(tmp_path / "embedder.keras")
    np.testing.assert_allclose(copy(images, training=False), expected, atol=1e-5)


def test_backbone_weights_from_a_file(embedder, images, tmp_path):
    backbone = embedder.get_layer("trunk")
    backbone.save_weights(tmp_path / "backbone.weights.h5")
    other = build_embedder(
        "mobilenet", **{**SMALL, "backbone_weights": str(tmp_path / "backbone.weights.h5")}
    ).get_layer("trunk")
    for loaded, saved in zip(other.get_weights(), backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(loaded, saved)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "resnet18"}, "backbone='resnet18'` is unknown; choose one of resnet50, "),
        ({"embedding_dim": -1}, "embedding_dim=-1` must be positive, or 0 for no head"),
        ({"image_size": 16}, "image_size=16` is too small; the backbones need at least 32"),
        ({"image_size": 0}, "image_size=0` is too small"),
        ({"image_size": -8}, "image_size=-8` is too small"),
        ({"alpha": 0}, "alpha=0` must be positive, e.g. 0.25"),
        ({"alpha": 0.001}, "mobilenet cannot be built with `image_size=32` and `alpha=0.001`: "),
        (
            {"backbone": "resnet50"},
            "alpha=0.25` does not apply to resnet50.* choose one of mobilenet,",
        ),
        (
            {"backbone_weights": "image_net"},
            "backbone_weights='image_net'` is neither 'imagenet' nor 'none' nor an existing file",
        ),
    ],
)
def test_unusable_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        build_embedder(**{"backbone": "mobilenet", **SMALL, **arguments})


def test_default_image_size_is_that_of_the_weights():
    assert build_embedder("mobilenet", alpha=0.25, backbone_weights="none").input_shape[1] == 224
