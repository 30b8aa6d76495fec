import json
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.models.class_head import ClassHead
from keras_distill.models.label_names import LabelNames, find_labels
from keras_distill.models.loading import load_model
from keras_distill.models.mixed_heads import mix_heads

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = ["a", "b", "c", "d", "e"]


def classifier():
    """Its features are what it is given; its head is the identity."""
    image = keras.Input((5,), name="image")
    features = keras.layers.Rescaling(1.0)(image)
    head = ClassHead(np.eye(5, dtype=np.float32)).layer()
    names = LabelNames(NAMES, activation="softmax")
    return keras.Model(image, {"logits": names(head(features))})


@pytest.mark.parametrize("case", ["headkd__validate_th_w0.0", "headkd__validate_th_w1.0"])
def test_reference(case, tmp_path):
    golden = np.load(GOLDEN / f"{case}.npz")
    weight = json.loads(str(golden["params_json"]))["validation_th_weight"]
    # A head that turns the student's logits into the teacher head's, row by row.
    kernel = np.linalg.lstsq(golden["logits"], golden["logits_th"], rcond=None)[0]
    model = mix_heads(classifier(), ClassHead(np.float32(kernel)).layer("other"), weight)
    model.save(tmp_path / "mixed.keras")
    for each in (model, load_model(tmp_path / "mixed.keras")):
        logits = each(golden["logits"])["logits"]
        np.testing.assert_allclose(keras.ops.softmax(logits), golden["probs_f64"], atol=1e-4)
        assert find_labels(each).names == tuple(NAMES)
        assert find_labels(each).activation == "softmax"


def test_probabilities_are_mixed():
    logits = np.float32(np.random.default_rng(0).normal(size=(3, 5)) * 50)
    other = ClassHead(np.float32(np.random.default_rng(1).normal(size=(7, 5))))
    projection = keras.layers.Dense(7)
    model = mix_heads(classifier(), other.layer("other"), 0.25, projection=projection)
    shared = keras.ops.softmax(projection(logits) @ other.kernel).numpy()
    expected = 0.75 * keras.ops.softmax(logits).numpy() + 0.25 * shared
    found = keras.ops.softmax(model(logits)["logits"]).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    assert np.isfinite(model(1e6 * logits)["logits"]).all()


def test_unusable_arguments():
    head = ClassHead(np.eye(5, dtype=np.float32)).layer("other")
    with pytest.raises(InputError, match=r"`weight=1\.5` is a share"):
        mix_heads(classifier(), head, 1.5)
    nameless = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])
    with pytest.raises(InputError, match="has no names of its classes"):
        mix_heads(nameless, head, 0.5)
