import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.models.feature_tap import UNNORMALISED, FeatureTap
from keras_distill.models.fused_batch_norm import fuse_batch_norm
from keras_distill.models.unit_norm import unit_norm

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
LAYERS = ["conv", "relu", "block/norm", "block"]


def build():
    keras.utils.set_random_seed(0)
    features = keras.Input((8, 8, 4), name="features")
    x = keras.layers.Conv2D(5, 3, name="inner")(features)
    x = keras.layers.BatchNormalization(momentum=0.5, name="norm")(x)
    block = keras.Model(features, keras.layers.ReLU(name="last")(x), name="block")
    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, -1, name="scale")(image)
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="conv")(x)
    x = keras.layers.BatchNormalization(momentum=0.5, name="norm")(x)
    x = block(keras.layers.ReLU(name="relu")(x))
    x = keras.layers.GlobalAveragePooling2D(name="pooling")(x)
    return keras.Model(image, keras.layers.Dense(3, name="head")(x), name="net")


def expected(images, training=False):
    """Outputs, maps and weights afterwards, by models without a tap."""
    model = build()
    block = model.get_layer("block")
    inner = keras.Model(block.input, block.get_layer("norm").output)
    relu = model.get_layer("relu").output
    tensors = [
        model.output,
        model.get_layer("conv").output,
        relu,
        inner(relu),
        model.get_layer("pooling").input,
    ]
    outputs, *maps = keras.Model(model.input, tensors)(images, training=training)
    once = build()
    once(images, training=training)
    return outputs, dict(zip(LAYERS, maps, strict=True)), once.get_weights()


def check(model, answer, *, training, tolerance=1e-6):
    outputs, maps, weights = expected(IMAGES, training)
    close = {"rtol": tolerance, "atol": tolerance}
    np.testing.assert_allclose(answer[0], outputs, **close)
    assert answer[1].keys() == maps.keys()
    for name, value in maps.items():
        np.testing.assert_allclose(answer[1][name], value, **close)
    for weight, other in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(weight, other, **close)
    moved = any((a != b).any() for a, b in zip(weights, build().get_weights(), strict=True))
    assert moved == training


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_maps_and_statistics_are_those_of_a_single_pass(training, compiled):
    model = build()
    tap = FeatureTap(model, LAYERS)
    assert tap.shapes == {
        "conv": (None, 8, 8, 4),
        "relu": (None, 8, 8, 4),
        "block/norm": (None, 6, 6, 5),
        "block": (None, 6, 6, 5),
    }

    def run(images):
        return tap(images, training=training)

    check(model, (tf.function(run) if compiled else run)(IMAGES), training=training)


def test_every_layer_runs_once():
    ran = []

    def spied(layer):
        original = layer.call
        return lambda *args, **options: ran.append(layer.name) or original(*args, **options)

    model = build()
    layers = [*model.layers, *model.get_layer("block").layers]
    for layer in layers:
        object.__setattr__(layer, "call", spied(layer))
    tap = FeatureTap(model, LAYERS)
    for training in (False, True):
        ran.clear()
        tap(IMAGES, training=training)
        names = ["scale", "conv", "norm", "relu", "block", "inner", "norm", "last"]
        assert ran == [*names, "pooling", "head"]


def test_statistics_move_as_often_as_it_is_called():
    model, plain = build(), build()
    tap = FeatureTap(model, LAYERS)
    step = tf.function(lambda images: tap(images, training=True))
    for images in (IMAGES, IMAGES[::2], IMAGES[:1]):
        step(images)
        plain(images, training=True)
    for weight, other in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-6, atol=1e-6)


def test_gradients_flow_through_the_maps():
    model, plain = build(), build()
    tap = FeatureTap(model, ["relu"])
    relu = keras.Model(plain.input, plain.get_layer("relu").output)
    kernels = []
    for run, kernel in (
        (lambda: tap(IMAGES, training=True)[1]["relu"], model.get_layer("conv").kernel),
        (lambda: relu(IMAGES, training=True), plain.get_layer("conv").kernel),
    ):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(run() ** 2)
        kernels.append(tape.gradient(value, kernel.value))
    np.testing.assert_allclose(*kernels, rtol=1e-4, atol=1e-4)
    assert np.abs(kernels[0]).max() > 1e-3


def test_several_taps_on_one_model():
    model = build()
    taps = [FeatureTap(model, names) for names in (["conv"], LAYERS, ["last", "block/last"])]
    _, maps, _ = expected(IMAGES)
    for _ in range(2):
        answers = [tap(IMAGES)[1] for tap in taps]
        assert [list(answer) for answer in answers] == [["conv"], LAYERS, ["last", "block/last"]]
        np.testing.assert_allclose(answers[0]["conv"], maps["conv"], atol=1e-6)
        for name in ("last", "block/last"):  # the same layer
            np.testing.assert_allclose(answers[2][name], maps["block"], atol=1e-6)
    check(model, taps[1](IMAGES), training=False)
    np.testing.assert_allclose(model(IMAGES), expected(IMAGES)[0], atol=1e-6)


def test_a_call_after_one_that_failed():
    model = build()
    tap = FeatureTap(model, LAYERS)
    with pytest.raises(ValueError, match="incompatible"):
        tap(np.zeros((2, 16, 16, 7)))
    check(model, tap(IMAGES), training=False)


def test_first_use_of_a_layer_counts():
    image = keras.Input((4, 4, 3))
    shared = keras.layers.Conv2D(3, 1, name="shared")
    model = keras.Model(image, shared(shared(image)))
    images = np.float32(IMAGES[:, :4, :4])
    _, maps = FeatureTap(model, ["shared"])(images)
    np.testing.assert_allclose(maps["shared"], shared(images), rtol=1e-5)


@pytest.mark.parametrize("fused_first", [False, True])
def test_batch_normalisation_may_be_fused_before_or_after(fused_first):
    model = build()
    if fused_first:
        fuse_batch_norm(model)
    tap = FeatureTap(model, LAYERS)
    if not fused_first:
        fuse_batch_norm(model)
    run = tf.function(lambda images: tap(images, training=True))
    operations = run.get_concrete_function(IMAGES).graph.as_graph_def().node
    fused = sum(node.op == "FusedBatchNormV3" for node in operations)
    assert fused == (2 if fused_first else 1)  # a tapped layer stays what it was
    check(model, run(IMAGES), training=True, tolerance=1e-5)


def test_saved_model_knows_nothing_of_it(tmp_path, run_warm_python):
    model, plain = build(), build()
    tap = FeatureTap(model, LAYERS)
    tap(IMAGES)
    files = [tmp_path / "tapped.keras", tmp_path / "plain.keras"]
    configs = []
    for file, saved in zip(files, (model, plain), strict=True):
        saved.save(file)
        with zipfile.ZipFile(file) as archive:
            configs.append(json.loads(archive.read("config.json")))
    assert configs[0] == configs[1]
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "expected.npy", plain(IMAGES))
    run_warm_python(
        "import sys, keras, numpy as np\n"
        f"model = keras.models.load_model({str(files[0])!r})\n"
        f"found = model(np.load({str(tmp_path / 'images.npy')!r}))\n"
        f"expected = np.load({str(tmp_path / 'expected.npy')!r})\n"
        "np.testing.assert_allclose(found, expected, atol=1e-6)\n"
        "assert not any(name.startswith('keras_distill') for name in sys.modules)\n"
    )


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("top", "`layer='top'` is not a layer of `model` 'net' with a feature map; these are"),
        ("pooling", "`layer='pooling'` is not a layer of `model` 'net' with a feature map"),
    ],
)
def test_a_layer_without_a_map_lists_the_others(layer, said):
    with pytest.raises(InputError) as error:
        FeatureTap(build(), ["conv", layer])
    assert said in str(error.value)
    assert str(error.value).endswith(
        "scale, conv, norm, relu, block, block/inner, block/norm, block/last."
    )


@pytest.mark.parametrize("training", [False, True])
def test_vectors_before_the_unit_norm(training):
    model = build()
    image = keras.Input((16, 16, 3))
    embedder = keras.Model(image, unit_norm(3)(model(image)))
    tap = FeatureTap(embedder, ["block"], unnormalised=True)
    outputs, maps = tf.function(lambda images: tap(images, training=training))(IMAGES)
    vectors, block, _ = expected(IMAGES, training)
    assert sorted(maps) == ["block", UNNORMALISED]
    np.testing.assert_allclose(maps[UNNORMALISED], vectors, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(maps["block"], block["block"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(outputs, axis=1), 1, rtol=1e-5)
    again = embedder(IMAGES, training=False)  # the tap is not in the way
    np.testing.assert_allclose(np.linalg.norm(again, axis=1), 1, rtol=1e-5)


def test_a_model_without_a_unit_norm_returns_such_vectors():
    tap = FeatureTap(build(), [], unnormalised=True)
    outputs, maps = tap(IMAGES)
    assert maps[UNNORMALISED] is outputs
