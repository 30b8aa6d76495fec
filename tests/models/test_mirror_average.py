import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill import (
    InputError,
    LabelNames,
    build_word_classifier,
    find_labels,
    mirror_averaged,
    word_scores,
)
from keras_distill.models.float32 import as_float32
from keras_distill.models.loading import load_model
from keras_distill.models.mirror_average import is_mirror_averaged


def naive(model, images):
    """The formula, an image at a time."""
    rows = []
    for image in images:
        views = [image, image[:, ::-1]]
        seen, mirrored = (np.asarray(model(view[None].astype("f4")), "f8")[0] for view in views)
        total = seen + mirrored
        rows.append(total / np.linalg.norm(total))
    return np.stack(rows)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def model(small_embedder):
    return small_embedder(6)


@pytest.fixture(scope="module")
def averaged(model):
    return mirror_averaged(model)


def sides(weights, size=8):
    """An embedder of two values, the brightness of the left and of the right half, weighted."""
    image = keras.Input((size, size, 3), name="image")
    means = keras.ops.reshape(keras.layers.AveragePooling2D((size, size // 2))(image), (-1, 6))
    kernel = np.zeros((6, 2), np.float32)
    kernel[0], kernel[3] = weights
    dense = keras.layers.Dense(2, use_bias=False)
    embedder = keras.Model(image, dense(means))
    dense.set_weights([kernel])
    return embedder


def test_is_the_normalised_mean_of_both_views(model, averaged, images):
    expected = naive(model, images)
    assert np.abs(expected - np.asarray(model(images))).max() > 0.01  # the mirror image counts
    for given in (images, images.astype(np.float32), tf.constant(images)):
        np.testing.assert_allclose(averaged(given), expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(averaged(images), axis=1), 1, atol=1e-6)
    assert averaged.input_shape == model.input_shape
    assert (averaged.output_shape, averaged.inputs[0].name) == ((None, 6), "image")


def test_mirror_images_have_the_same_vectors(averaged, images):
    np.testing.assert_allclose(averaged(images), averaged(images[:, :, ::-1]), atol=1e-6)
    upside_down = np.abs(averaged(images) - averaged(images[:, ::-1]))
    assert np.max(upside_down) > 0.01


def test_shares_the_weights(model, averaged):
    assert averaged.count_params() == model.count_params()
    assert [id(weight) for weight in averaged.weights] == [id(weight) for weight in model.weights]


def test_opposite_vectors_give_zero(value_and_gradient):
    averaged = mirror_averaged(sides([[1.0, 2.0], [-1.0, -2.0]]))
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype("f4")  # exact means
    images[1, :, :4] += 512
    flat = images.reshape(3, -1)
    value, gradient = value_and_gradient(
        lambda x: tf.reduce_sum(averaged(tf.reshape(x, (-1, 8, 8, 3)))), flat
    )
    np.testing.assert_array_equal(averaged(np.zeros((1, 8, 8, 3), "f4")), [[0, 0]])
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(averaged(images), np.zeros((3, 2)))


def test_length_of_the_vectors_does_not_matter():
    images = np.random.default_rng(1).uniform(0, 255, (3, 8, 8, 3)).astype("f4")
    for scale in (1e-20, 1.0, 1e15):
        weights = np.float32(scale) * np.float32([[1, 2], [3, -1]])
        averaged = mirror_averaged(sides(weights))
        np.testing.assert_allclose(averaged(images), np.tile([4, 1] / np.sqrt(17), (3, 1)), 1e-5)


def test_images_of_any_size():
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, (2, 3))(image)
    model = keras.Model(image, keras.layers.GlobalMaxPooling2D()(x))
    averaged = mirror_averaged(model)
    for size in (5, 9):
        images = np.random.default_rng(size).uniform(0, 255, (2, size, size, 3))
        np.testing.assert_allclose(averaged(images), naive(model, images), atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_float32_under_every_policy(policy, dtype_policy, small_embedder, images):
    dtype_policy(policy)
    model = small_embedder(6)
    averaged = mirror_averaged(model)
    answer = averaged(images)
    assert answer.dtype == "float32"
    np.testing.assert_allclose(answer, naive(model, images), atol=2e-2)
    assert is_mirror_averaged(as_float32(averaged))
    half = keras.Model(model.input, keras.ops.cast(model.output, "float16"))
    assert mirror_averaged(half)(images).dtype == "float32"
    np.testing.assert_allclose(np.linalg.norm(mirror_averaged(half)(images), axis=1), 1, atol=1e-6)


def test_loads_in_a_fresh_process(averaged, images, tmp_path, run_warm_python):
    averaged.save(tmp_path / "averaged.keras")
    np.save(tmp_path / "images.npy", images)
    code = """
import json, sys
import keras_distill
import keras, numpy as np
model = keras.models.load_model(sys.argv[1], compile=False)
print(json.dumps(np.asarray(model(np.load(sys.argv[2]))).tolist()))
"""
    printed = run_warm_python(code, tmp_path / "averaged.keras", tmp_path / "images.npy")
    np.testing.assert_allclose(json.loads(printed), averaged(images), atol=1e-6)


def test_is_known_when_copied_loaded_or_within_a_model(model, averaged, tmp_path):
    averaged.save(tmp_path / "averaged.keras")
    loaded = keras.models.load_model(tmp_path / "averaged.keras")
    image = keras.Input((32, 32, 3))
    within = keras.Model(image, averaged(image))
    for known in (averaged, loaded, keras.models.clone_model(averaged), within):
        assert is_mirror_averaged(known)
        with pytest.raises(InputError, match="averages mirror images already; use it as it is"):
            mirror_averaged(known)
    assert not is_mirror_averaged(model)


def test_other_outputs_are_refused(two_outputs):
    with pytest.raises(InputError, match=r"only embedding, logits, words can .* not density"):
        mirror_averaged(two_outputs())
    image = keras.Input((8, 8, 3))
    with pytest.raises(InputError, match="must return one vector"):
        mirror_averaged(keras.Model(image, keras.layers.Conv2D(2, 3)(image)))


def test_logits_are_averaged_and_keep_their_labels(two_outputs, images, tmp_path):
    both = two_outputs()
    named = LabelNames(["a", "b", "c", "d", "e"], thresholds=[0.1, 0.2, 0.3, 0.4, 0.5])
    model = keras.Model(both.input, {"logits": named(both.output["logits"])})
    averaged = mirror_averaged(model)
    expected = 0.5 * (model(images)["logits"] + model(images[:, :, ::-1])["logits"])
    assert np.abs(expected - model(images)["logits"]).max() > 1e-4
    np.testing.assert_allclose(averaged(images)["logits"], expected, atol=1e-5)
    averaged.save(tmp_path / "averaged.keras")
    loaded = load_model(tmp_path / "averaged.keras")
    np.testing.assert_allclose(loaded(images)["logits"], expected, atol=1e-5)
    assert is_mirror_averaged(loaded)
    labels = find_labels(loaded)
    assert labels.names == named.names
    assert labels.thresholds == named.thresholds
    assert loaded.count_params() == model.count_params()
    with pytest.raises(InputError, match="averages mirror images already"):
        mirror_averaged(loaded)


def test_words_and_embeddings_are_averaged_together(images):
    image = keras.Input((32, 32, 3), name="image")
    pooled = keras.layers.Flatten()(keras.layers.AveragePooling2D(16)(image))
    words = keras.layers.Reshape((2, 4))(keras.layers.Dense(8)(pooled))
    model = keras.Model(image, {"words": words, "embedding": keras.layers.Dense(3)(pooled)})
    averaged = mirror_averaged(model)
    views = [model(view.astype("f4")) for view in (images, images[:, :, ::-1])]
    answer = averaged(images)
    np.testing.assert_allclose(
        answer["words"], 0.5 * (views[0]["words"] + views[1]["words"]), atol=1e-4
    )
    total = np.asarray(views[0]["embedding"] + views[1]["embedding"])
    np.testing.assert_allclose(
        answer["embedding"], total / np.linalg.norm(total, axis=1, keepdims=True), atol=1e-5
    )
    tagger = build_word_classifier(averaged, ["x", "y"], np.eye(2, 4))
    np.testing.assert_allclose(
        tagger(images)["logits"], word_scores(answer["words"], np.eye(2, 4)), atol=1e-4
    )


def test_output_may_have_a_name(model, averaged, images):
    named = keras.Model(model.input, {"embedding": model.output})
    np.testing.assert_allclose(mirror_averaged(named)(images), averaged(images), atol=1e-6)
