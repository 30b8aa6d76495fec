import keras
import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.models.class_head import ClassHead, head_layer, load_class_head, split_head
from keras_distill.models.classifier import build_classifier
from keras_distill.models.cosine_head import CosineHead
from keras_distill.models.embedding_output import embedder_of, with_embedding
from keras_distill.models.label_names import find_labels
from keras_distill.models.loading import load_model

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype("float32")


def backbone(width=4, seed=0):
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(width, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))


def classifier(scale=None, **options):
    made = build_classifier(
        ["a", "b", "c"], backbone(), activation="softmax", scale=scale, **options
    )
    layer = head_layer(made)
    random = np.random.default_rng(1)
    layer.set_weights([random.normal(size=weight.shape) for weight in layer.get_weights()])
    return made


def expected(features, head):
    features = np.asarray(features)
    if head.scale is None:
        return features @ head.kernel + head.bias
    rows = features / np.linalg.norm(features, axis=1, keepdims=True)
    return head.scale * rows @ (head.kernel / np.linalg.norm(head.kernel, axis=0))


@pytest.mark.parametrize("scale", [None, 16.0])
def test_a_classifier_is_its_features_and_its_head(scale, tmp_path):
    model = classifier(scale)
    model.save(tmp_path / "model.keras")
    for each in (model, load_model(tmp_path / "model.keras")):
        features, head = split_head(each)
        assert (head.names, head.scale, head.width) == (("a", "b", "c"), scale, 4)
        np.testing.assert_allclose(
            each(IMAGES)["logits"], expected(features(IMAGES), head), rtol=1e-4
        )


def test_a_head_within_a_model_within_a_model():
    inner = backbone()
    inner = keras.Model(inner.input, keras.layers.Dense(3, name="fc")(inner.output))
    image = keras.Input((8, 8, 3))
    outer = keras.Model(image, inner(keras.layers.Rescaling(0.5)(image)))
    for model in (outer, keras.Sequential([keras.Input((8, 8, 3)), outer])):
        features, head = split_head(model)
        assert head.names is None
        np.testing.assert_allclose(model(IMAGES), expected(features(IMAGES), head), rtol=1e-4)


def test_models_without_a_head():
    model = backbone()
    with pytest.raises(InputError, match=r"ends with the GlobalAveragePooling2D .*returns logits"):
        split_head(model)
    probabilities = keras.layers.Dense(3, activation="softmax")(model.output)
    with pytest.raises(InputError, match="not with a Dense layer without activation"):
        split_head(keras.Model(model.input, probabilities))
    outputs = {"a": model.output, "b": keras.layers.Dense(2)(model.output)}
    with pytest.raises(InputError, match="returns a, b, and no 'logits'"):
        split_head(keras.Model(model.input, outputs))


@pytest.mark.parametrize("scale", [None, 16.0])
def test_some_classes_in_another_order(scale, tmp_path):
    head = split_head(classifier(scale))[1]
    head.save(tmp_path / "class_head.npz")
    kept = load_class_head(tmp_path / "class_head.npz").of_classes(["c", "a"])
    assert kept.names == ("c", "a")
    np.testing.assert_array_equal(kept.kernel, head.kernel[:, [2, 0]])
    layer = kept.layer()
    assert not layer.trainable_weights
    features = np.float32(np.random.default_rng(2).normal(size=(2, 4)))
    np.testing.assert_allclose(layer(features), expected(features, kept), rtol=1e-4)
    with pytest.raises(InputError, match="`head` lacks 1 of 2 classes, such as 'd'"):
        head.of_classes(["a", "d"])


def test_a_head_without_names():
    head = ClassHead(np.eye(3, dtype=np.float32))
    assert head.of_classes(["x", "y", "z"]).names == ("x", "y", "z")
    with pytest.raises(InputError, match="has 3 classes without names, not 2"):
        head.of_classes(["x", "y"])


def test_a_head_is_put_into_a_layer_of_its_kind_and_shape():
    model, other = classifier(), classifier()
    head_layer(other).kernel.assign(np.zeros((4, 3)))
    split_head(model)[1].put_into(head_layer(other))
    np.testing.assert_array_equal(head_layer(other).kernel, head_layer(model).kernel)
    assert not head_layer(other).trainable
    with pytest.raises(InputError, match=r"`head` is linear, .* does not fit .* times 16"):
        split_head(model)[1].put_into(head_layer(classifier(16.0)))
    with pytest.raises(InputError, match="from 4 features to 3 classes, and does not fit"):
        split_head(model)[1].put_into(ClassHead(np.ones((5, 3))).layer())


def test_files_that_are_no_head(tmp_path):
    np.savez(tmp_path / "other.npz", kernel=np.ones(3))
    (tmp_path / "text.npz").write_text("no head")
    for name in ("other.npz", "text.npz", "none.npz"):
        with pytest.raises(InputError, match=r"is no head of a classifier .*class_head\.npz"):
            load_class_head(tmp_path / name)


@pytest.mark.parametrize("width", [None, 4, 6])
def test_a_classifier_that_returns_its_embedding(width):
    model = classifier(dropout=0.5)
    joint = with_embedding(model, width=width)
    outputs = joint(IMAGES)
    np.testing.assert_allclose(outputs["logits"], model(IMAGES)["logits"])
    features = split_head(model)[0](IMAGES)
    if width == 6:
        features = joint.get_layer("projection")(features)
    np.testing.assert_allclose(outputs["embedding"], features, rtol=1e-5)
    trained = joint(IMAGES, training=True)["embedding"]  # before the dropout
    np.testing.assert_allclose(trained, features, rtol=1e-5)
    assert find_labels(joint).names == ("a", "b", "c")


@pytest.mark.parametrize("scale", [None, 16.0])
def test_the_embedder_of_a_classifier(scale):
    model = classifier(scale, dropout=0.5)
    vectors = embedder_of(model)(IMAGES).numpy()
    features = split_head(model)[0](IMAGES).numpy()
    np.testing.assert_allclose(
        vectors, features / np.linalg.norm(features, axis=1, keepdims=True), rtol=1e-5
    )


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_cosines_are_float32_and_safe(policy, dtype_policy):
    dtype_policy(policy)
    head = CosineHead(2, 10.0)
    logits = head(np.float32([[0, 0, 0], [1e20, 0, 0], [1e-20, 0, 0]]))
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()
    np.testing.assert_array_equal(logits[0], 0)
    np.testing.assert_allclose(logits[1], logits[2], rtol=1e-5)
    with pytest.raises(InputError, match="`scale=0` must be positive"):
        CosineHead(2, 0)
