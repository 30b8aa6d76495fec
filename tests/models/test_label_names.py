import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.models.float32 import as_float32
from keras_distill.models.label_names import LabelNames, find_labels

LOGITS = np.float32([[3.0, -1.0, 0.5], [-20.0, 200.0, 0.0]])


def test_logits_stay_as_they_are():
    layer = LabelNames(["a", "b", "c"])
    np.testing.assert_array_equal(layer(LOGITS), LOGITS)
    assert layer(tf.cast(LOGITS, "float16")).dtype == "float32"


def test_probabilities():
    sigmoid = LabelNames([*"abc"]).probabilities
    np.testing.assert_allclose(sigmoid(LOGITS), 1 / (1 + np.exp(-LOGITS)), rtol=1e-5)
    softmax = LabelNames([*"abc"], activation="softmax").probabilities(LOGITS)
    powers = np.exp(np.float64(LOGITS))
    np.testing.assert_allclose(softmax, powers / powers.sum(axis=1, keepdims=True), 1e-5, 1e-9)


def test_everything_is_kept_with_the_model(tmp_path):
    image = keras.Input((4, 4, 3), name="image")
    logits = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(image))
    tags = LabelNames(["a", "b", "c"], activation="softmax", name="tags")
    model = keras.Model(image, {"tags": tags(logits)})
    assert find_labels(model) is None
    assert find_labels(model, "tags") is tags
    tags.thresholds = np.float64([0.1, 0.5, 1.0])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (loaded, as_float32(loaded), keras.models.clone_model(model)):
        found = find_labels(each, "tags")
        assert found.names == ("a", "b", "c")
        assert found.thresholds == (0.1, 0.5, 1.0)
        assert found.activation == "softmax"
    json.dumps(tags.get_config())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "must be names, and none of them may be empty"),
        (["a", " "], "none of them may be empty"),
        (["a", "b", "a"], "`labels` has a more than once"),
        ("abc", "`labels='abc'` is not a list of names"),
        ([1, 2], "is not a list of names"),
    ],
)
def test_unusable_names(names, message):
    with pytest.raises(InputError, match=message):
        LabelNames(names)


def test_other_unusable_arguments():
    with pytest.raises(InputError, match="`thresholds` are 2 values for 1 labels"):
        LabelNames(["a"], [0.5, 0.5])
    with pytest.raises(InputError, match="give a probability from 0 to 1"):
        LabelNames(["a"], [1.5])
    with pytest.raises(InputError, match="`activation='relu'` is unknown"):
        LabelNames(["a"], activation="relu")
    with pytest.raises(InputError, match="`names` has 1 labels for 3 logits"):
        LabelNames(["a"])(LOGITS)
