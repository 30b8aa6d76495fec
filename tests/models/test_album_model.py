import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill import AlbumEncoder, InputError, Supervised, build_album_classifier
from keras_distill.models.album_means import mean_probabilities, mean_vectors
from keras_distill.models.album_model import album_parts, build_album_model
from keras_distill.models.label_names import find_labels
from keras_distill.models.loading import load_model

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (2, 5, 8, 8, 3), dtype=np.uint8)
MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
LABELS = ["a", "b", "c"]


def photographs():
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    x = keras.layers.Conv2D(6, 3, activation="relu")(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(x), name="p")


def classifier(**options):
    return build_album_classifier(LABELS, 6, AlbumEncoder(1, 2, 8), **options)


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return build_album_model(photographs(), classifier(baselines=True))


def test_each_photograph_is_looked_at_alone(model):
    parts = album_parts(model)
    assert parts.dim == 6
    flat = parts.photographs(IMAGES.reshape(-1, 8, 8, 3))
    vectors = np.asarray(flat).reshape(2, 5, 6)
    expected = parts.classifier({"vectors": vectors, "mask": MASK})
    outputs = model({"image": IMAGES, "mask": MASK})
    assert set(outputs) == {"logits", "attention", "mean_vectors", "mean_probabilities"}
    for name, values in outputs.items():
        np.testing.assert_allclose(values, expected[name], atol=1e-5)


def test_masked_photographs_have_no_effect(model):
    changed = IMAGES.copy()
    changed[0, 3:] = 255 - changed[0, 3:]
    left, right = (model({"image": images, "mask": MASK}) for images in (IMAGES, changed))
    for name, values in left.items():
        np.testing.assert_allclose(values, right[name], atol=1e-6)


def test_baselines_are_the_means(model):
    parts = album_parts(model)
    vectors = RANDOM.normal(size=(2, 5, 6)).astype(np.float32)
    vectors[0, 3:] = np.nan
    outputs = parts.classifier({"vectors": vectors, "mask": MASK})
    finite = np.nan_to_num(vectors)
    for name, activation in (("mean_vectors", None), ("mean_probabilities", "sigmoid")):
        head = parts.classifier.get_layer(f"{name}_head")
        if activation is None:
            expected = head(mean_vectors(finite, MASK))
        else:
            share = np.asarray(mean_probabilities(head(finite), MASK, activation=activation))
            expected = np.log(share / (1 - share))
        np.testing.assert_allclose(outputs[name], expected, atol=1e-4)
        assert find_labels(model, name).names == tuple(LABELS)


def test_softmax_baselines_keep_their_order():
    model = classifier(baselines=True, activation="softmax")
    vectors = RANDOM.normal(size=(2, 5, 6)).astype(np.float32)
    logits = model({"vectors": vectors, "mask": MASK})["mean_probabilities"]
    each = model.get_layer("mean_probabilities_head")(vectors)
    shares = find_labels(model, "mean_probabilities").probabilities(logits)
    np.testing.assert_allclose(shares, mean_probabilities(each, MASK), atol=1e-5)


def test_extreme_probabilities_have_finite_logits():
    model = classifier(baselines=True)
    vectors = np.full((2, 5, 6), 1e4, np.float32)
    logits = model({"vectors": vectors, "mask": MASK})["mean_probabilities"]
    assert np.isfinite(logits).all()
    assert np.abs(logits).max() > 13


@pytest.mark.parametrize(
    "policy", ["float32", pytest.param("mixed_float16", marks=pytest.mark.slow)]
)
def test_it_trains_end_to_end_is_saved_and_loaded(dtype_policy, policy, tmp_path):
    dtype_policy(policy)
    keras.utils.set_random_seed(0)
    model = build_album_model(photographs(), classifier(baselines=True))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    trained = Supervised(model, {"logits": loss})
    trained.compile(keras.optimizers.Adam(1e-2))
    targets = {"logits": np.array([[1, 0, 0], [0, 1, 1]], np.int8)}
    x = {"image": IMAGES, "mask": MASK}
    batches = tf.data.Dataset.from_tensors((x, targets)).repeat(8)
    before = [np.array(v) for v in album_parts(model).photographs.trainable_variables]
    history = trained.fit(batches, epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]
    after = album_parts(model).photographs.trainable_variables
    assert all((a != np.array(b)).any() for a, b in zip(before, after, strict=True))
    find_labels(model, "mean_vectors").thresholds = [0.1, 0.2, 0.3]
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    for name, values in model(x).items():
        assert values.dtype == tf.float32
        np.testing.assert_allclose(values, loaded(x)[name], atol=1e-5)
    assert find_labels(loaded, "mean_vectors").thresholds == (0.1, 0.2, 0.3)
    assert album_parts(loaded).photographs.input_shape == (None, 8, 8, 3)


def test_models_that_do_not_fit():
    with pytest.raises(InputError, match="takes vectors of width 7"):
        build_album_model(photographs(), build_album_classifier(LABELS, 7, AlbumEncoder(1, 7, 8)))
    image = keras.Input((8, 8, 3))
    maps = keras.Model(image, {"density": keras.layers.Conv2D(1, 3)(image)})
    with pytest.raises(InputError, match="a model of one vector"):
        build_album_model(maps, classifier())
    assert album_parts(photographs()) is None
    assert album_parts(classifier()).photographs is None
