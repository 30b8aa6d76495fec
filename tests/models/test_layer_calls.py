import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_distill
from keras_distill.models.layer_calls import replace_calls, tap_features

IMAGES = np.random.default_rng(0).normal(size=(4, 6, 6, 3)).astype(np.float32)


def build():
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))


def operations(function):
    graph = tf.function(function).get_concrete_function(tf.TensorSpec((4, 6, 6, 3))).graph
    return {operation.type for operation in graph.get_operations()}


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_a_tapped_batch_normalisation_is_fused_whatever_comes_first(before, after):
    model, plain = build(), build()
    replace_calls(plain)
    if before:
        replace_calls(model)
    tap = tap_features(model, ["norm", "conv"])
    if after:
        replace_calls(model)
    assert "FusedBatchNormV3" in operations(lambda images: tap(images, training=True)[0])
    outputs, maps = tap(IMAGES, training=True)
    np.testing.assert_array_equal(outputs, plain(IMAGES, training=True))
    assert maps.keys() == {"norm", "conv"}
    for weight, other in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def test_a_clone_is_replaced_anew():
    model = build()
    tap_features(model, ["norm"])
    clone = keras.models.clone_model(model)
    assert not any("call" in vars(layer) for layer in clone.layers)
    replace_calls(clone)
    assert "FusedBatchNormV3" in operations(lambda images: clone(images, training=True))


def test_no_other_module_replaces_a_call():
    folder = Path(keras_distill.__file__).parent
    allowed = {
        "layer_calls.py",
        "feature_tap.py",
        "frozen_batch_norm.py",
        "fused_batch_norm.py",
        "unfolded_batch_norm.py",  # puts them back, which a test of it holds
    }
    uses = re.compile(r"import fuse_batch_norm|FeatureTap\(|__setattr__\(layer, \"call\"")
    found = {path.name for path in folder.rglob("*.py") if uses.search(path.read_text())} - allowed
    assert not found
