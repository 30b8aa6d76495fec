import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.models.classifier import build_classifier
from keras_distill.models.embedder import build_embedder
from keras_distill.models.label_names import find_labels
from keras_distill.models.product import product_shape

LABELS = ["bird", "boat", "traffic light"]
SMALL = {"alpha": 0.25, "image_size": 32, "backbone_weights": "none"}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def embedder():
    model = build_embedder("mobilenet", embedding_dim=8, **SMALL)
    # An untrained MobileNet shrinks its pixels to 1e-12.
    random = np.random.default_rng(0)
    model.set_weights([w + random.uniform(0, 0.1, w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_contract(policy, images, dtype_policy):
    dtype_policy(policy)
    model = build_classifier(LABELS, "mobilenet", name="tags", **SMALL)
    assert model.name == "tags"
    assert [tensor.name for tensor in model.inputs] == ["image"]
    assert product_shape(model).outputs == {"logits": (3,)}
    outputs = model(images)
    assert outputs.keys() == {"logits"}
    assert outputs["logits"].dtype == "float32"
    np.testing.assert_allclose(model(np.float32(images))["logits"], outputs["logits"])
    assert find_labels(model).names == tuple(LABELS)


def test_the_backbone_is_built_as_for_an_embedder(images, embedder):
    model = build_classifier(LABELS, "mobilenet", **SMALL)
    shapes = [w.shape for w in model.get_weights()]
    assert shapes == [w.shape for w in embedder.get_weights()[:-2]] + [(256, 3), (3,)]
    kernel = np.random.default_rng(1).normal(size=(256, 3))
    model.set_weights([*embedder.get_weights()[:-2], kernel, np.float32([1, 2, 3])])
    pooled = keras.Model(embedder.input, embedder.get_layer("pooling").output)(images)
    np.testing.assert_allclose(model(images)["logits"], pooled @ kernel + [1, 2, 3], rtol=1e-4)


def test_dropout_and_layer_of_a_backbone():
    model = build_classifier(
        LABELS, "mobilenet", dropout=0.5, backbone_layer="conv_pw_3_relu", **SMALL
    )
    assert model.get_layer("trunk").output_shape == (None, 8, 8, 32)
    assert model.get_layer("head").input is model.get_layer("dropout").output
    assert model.get_layer("dropout").rate == 0.5


@pytest.mark.parametrize("layer", ["", "pooling", "trunk", "head"])
def test_a_trained_embedder_as_the_backbone(images, embedder, layer):
    model = build_classifier(LABELS, embedder, backbone_layer=layer)
    kernel, bias = model.get_layer("head").get_weights()
    features = embedder(images)
    if layer:
        pooled = keras.Model(embedder.input, embedder.get_layer("pooling").output)(images)
        features = embedder.get_layer("head")(pooled) if layer == "head" else pooled
    assert product_shape(model).outputs == {"logits": (3,)}
    np.testing.assert_allclose(model(images)["logits"], features @ kernel + bias, rtol=1e-4)
    # Its weights are those of the embedder, which are trained on.
    shared = {id(weight) for weight in embedder.weights}
    unused = {"": 0, "head": 0}.get(layer, 2)
    assert sum(id(weight) in shared for weight in model.weights) == len(shared) - unused
    assert embedder.output_shape == (None, 8)


def test_other_models_as_the_backbone(images, tmp_path):
    image = keras.Input((32, 32, 3), dtype="uint8")
    x = keras.layers.Conv2D(4, 3, name="maps")(keras.layers.Rescaling(1 / 255)(image))
    for outputs in (x, {"embedding": keras.layers.GlobalAveragePooling2D()(x)}):
        model = build_classifier(LABELS, keras.Model(image, outputs))
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(loaded(images)["logits"], model(images)["logits"], rtol=1e-5)
        assert model.inputs[0].dtype == "uint8"


def test_a_file_keeps_names_and_outputs(images, tmp_path, run_warm_python):
    model = build_classifier(LABELS, "mobilenet", activation="softmax", **SMALL)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    code = """
import sys
from pathlib import Path
import keras
import numpy as np
from keras_distill import find_labels  # which registers the layer

folder = Path(sys.argv[1])
model = keras.models.load_model(folder / "model.keras")
labels = find_labels(model)
print(labels.names, labels.activation)
np.save(folder / "logits.npy", model(np.load(folder / "images.npy"))["logits"].numpy())
"""
    said = run_warm_python(code, tmp_path)
    assert said.strip() == "('bird', 'boat', 'traffic light') softmax"
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), model(images)["logits"], rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["a", "a"]}, "`labels` has a more than once"),
        ({"backbone": "resnet18"}, "`backbone='resnet18'` is unknown; choose one of resnet50, "),
        ({"dropout": 1.0}, r"`dropout=1.0` must be from 0 to below 1"),
        ({"backbone_layer": "pooling"}, r"`backbone_layer='pooling'` is not a layer of mobilenet"),
        ({"backbone_weights": "net"}, "`backbone_weights='net'` is neither 'imagenet' nor 'none'"),
        ({"activation": "relu"}, "`activation='relu'` is unknown"),
    ],
)
def test_unusable_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        build_classifier(**{"labels": LABELS, "backbone": "mobilenet", **SMALL, **arguments})


def test_unusable_models_as_the_backbone(embedder):
    for option in ({"image_size": 32}, {"alpha": 0.5}, {"backbone_weights": "none"}):
        with pytest.raises(InputError, match="`backbone` is a model, whose size, width and wei"):
            build_classifier(LABELS, embedder, **option)
    with pytest.raises(
        InputError, match=r"`backbone_layer='conv1'` is not a layer of 'embedder'.*it has image, p"
    ):
        build_classifier(LABELS, embedder, backbone_layer="conv1")
    classifier = build_classifier(LABELS, embedder)
    two = keras.Model(classifier.input, {**classifier.output, "other": classifier.output["logits"]})
    with pytest.raises(InputError, match="it must have one output, a vector"):
        build_classifier(LABELS, two)
    vector = keras.Input((3,))
    of_vectors = keras.Model(vector, vector, name="vectors")
    with pytest.raises(InputError, match=r"`backbone` 'vectors' takes .*square RGB images"):
        build_classifier(LABELS, of_vectors)


def test_it_trains(images, embedder):
    model = build_classifier(LABELS, embedder, backbone_layer="pooling")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(model(images, training=True)["logits"]))
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(gradient is not None for gradient in gradients)
