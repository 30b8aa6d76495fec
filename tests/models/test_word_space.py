import json
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.models.classifier import build_classifier
from keras_distill.models.label_names import find_labels
from keras_distill.models.product import product_shape
from keras_distill.models.word_space import build_word_classifier, build_word_space, word_scores

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = {"alpha": 0.25, "image_size": 32, "backbone_weights": "none"}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    model = build_word_space(3, 4, "mobilenet", **SMALL)
    random = np.random.default_rng(0)
    model.set_weights([w + random.uniform(-0.05, 0.1, w.shape) ** 2 for w in model.get_weights()])
    return model


def naive(words, vectors):
    return [[max(float(row @ u) for row in rows) for u in vectors] for rows in words]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_contract(policy, images, dtype_policy):
    dtype_policy(policy)
    model = build_word_space(3, 4, "mobilenet", dropout=0.1, **SMALL)
    assert product_shape(model).outputs == {"words": (3, 4)}
    words = model(images)["words"]
    assert words.dtype == "float32"
    assert model.get_layer("head").use_bias is False


def test_layout_of_the_head(model, images):
    """Column `r * word_dim + e` is entry e of row r; the published code has `e * rows + r`."""
    pooled = keras.Model(model.input, model.get_layer("pooling").output)(images).numpy()
    kernel = model.get_layer("head").kernel.numpy()
    words = model(images)["words"].numpy()
    for r in range(3):
        np.testing.assert_allclose(words[:, r], pooled @ kernel[:, 4 * r : 4 * r + 4], rtol=1e-4)
    published = np.random.default_rng(1).normal(size=kernel.shape).astype(np.float32)
    flat = pooled @ published
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    ours = published.reshape(-1, 4, 3).transpose(0, 2, 1).reshape(kernel.shape)
    other.get_layer("head").set_weights([ours])
    viewed = flat.reshape(5, 4, 3)  # as the published code views it
    np.testing.assert_allclose(
        other(images)["words"], viewed.transpose(0, 2, 1), rtol=1e-3, atol=1e-4
    )


def test_scores_are_those_of_the_published_code():
    golden = np.load(GOLDEN / "sdl__metric_f1_map.npz")
    params = json.loads(str(golden["params_json"]))
    viewed = golden["features"].reshape(-1, params["embed_len"], params["k_rows"])
    scores = word_scores(viewed.transpose(0, 2, 1), golden["words"]).numpy()
    ranked = np.take_along_axis(scores, golden["knn_ids"], axis=1)
    np.testing.assert_allclose(-ranked, golden["knn_dist"], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(np.argsort(-scores, axis=1, kind="stable"), golden["knn_ids"])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_scores_are_maxima_over_rows(dtype):
    random = np.random.default_rng(0)
    words, vectors = random.normal(size=(5, 3, 4)), random.normal(size=(6, 4))
    scores = word_scores(words.astype(dtype), vectors)
    assert scores.dtype == "float32"
    np.testing.assert_allclose(scores, naive(words, vectors), rtol=1e-2, atol=1e-2)


@pytest.mark.slow
def test_classifier_of_any_words(model, images, tmp_path):
    names = ["cat", "traffic light"]
    vectors = np.random.default_rng(0).normal(size=(2, 4))
    classifier = build_word_classifier(model, names, vectors)
    expected = naive(model(images)["words"].numpy(), vectors)
    np.testing.assert_allclose(classifier(images)["logits"], expected, rtol=1e-4, atol=1e-5)
    assert find_labels(classifier).names == tuple(names)
    trained = {id(variable) for variable in classifier.trainable_variables}
    assert trained == {id(variable) for variable in model.trainable_variables}
    classifier.save(tmp_path / "classifier.keras")
    loaded = keras.models.load_model(tmp_path / "classifier.keras")
    np.testing.assert_allclose(loaded(images)["logits"], expected, rtol=1e-4, atol=1e-5)


def test_unusable_arguments(model):
    for argument in ("rows", "word_dim"):
        with pytest.raises(InputError, match=f"`{argument}=0` must be positive"):
            build_word_space(**{argument: 0}, **SMALL)
    with pytest.raises(InputError, match=r"`vectors` of shape \(2, 5\) do not fit 2 labels .* 4;"):
        build_word_classifier(model, ["a", "b"], np.ones((2, 5)))
    with pytest.raises(InputError, match=r"`vectors` of shape \(3, 4\) do not fit 2 labels"):
        build_word_classifier(model, ["a", "b"], np.ones((3, 4)))
    with pytest.raises(InputError, match="`labels` has a more than once"):
        build_word_classifier(model, ["a", "a"], np.ones((2, 4)))
    other = build_classifier(["a"], "mobilenet", **SMALL)
    with pytest.raises(InputError, match=r"'classifier' returns logits, and no 'words'; give"):
        build_word_classifier(other, ["a"], np.ones((1, 4)))
