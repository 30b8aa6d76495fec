import json

import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.serving.client.output_labels import OutputLabels, read_labels

LOGITS = np.float32([[2.0, -1.0, 0.1], [-1e4, 1e4, -3.0], [-9.0, -9.0, -9.0]])
NAMES = ("cat", "dog", "bird")


def test_present_labels_come_most_probable_first():
    labels = OutputLabels("logits", NAMES, (0.5, 0.2, 0.6))
    rows = labels.present(LOGITS)
    assert [list(row) for row in rows] == [["cat", "dog"], ["dog"], []]
    assert rows[0]["cat"] == pytest.approx(1 / (1 + np.exp(-2)))
    assert rows[1] == {"dog": 1.0}
    assert [list(row) for row in labels.present(LOGITS, 0.5)] == [["cat", "bird"], ["dog"], []]
    assert [len(row) for row in labels.present(LOGITS, 0.0)] == [3, 3, 3]
    assert labels.present(LOGITS[:0]) == []


def test_softmax():
    labels = OutputLabels("logits", NAMES, (0.1,) * 3, "softmax")
    probabilities = labels.probabilities(LOGITS)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(probabilities[2], 1 / 3)
    np.testing.assert_allclose(probabilities[0, 0] / probabilities[0, 1], np.exp(3), rtol=1e-6)


def test_a_text_file(tmp_path):
    (tmp_path / "names.txt").write_text("cat\n\ntraffic light \ncaf\u00e9\n", encoding="utf-8")
    labels = read_labels(tmp_path / "names.txt")
    assert labels == OutputLabels("logits", ("cat", "traffic light", "caf\u00e9"), (0.5,) * 3)


def facts(folder, outputs):
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "distill.json").write_text(json.dumps({"outputs": outputs}))
    return folder


def test_a_folder(tmp_path):
    stated = {"labels": ["a", "b"], "thresholds": [0.1, 0.2], "activation": "softmax"}
    folder = facts(tmp_path, {"density": {"shape": [None, 4]}, "tags": stated})
    assert read_labels(folder) == OutputLabels("tags", ("a", "b"), (0.1, 0.2), "softmax")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("", "is empty; give a name in each line"),
        ({"density": {"shape": [None]}}, "names no labels; export a model of build_classifier"),
        ({"tags": {"labels": ["a"]}}, "cannot be read"),
        ([], "cannot be read"),
    ],
)
def test_unusable_labels(tmp_path, content, message):
    path = tmp_path
    if isinstance(content, str):
        path = tmp_path / "names.txt"
        path.write_text(content)
    elif content is not None:
        facts(tmp_path, content)
    with pytest.raises(InputError, match=message):
        read_labels(path)


def test_logits_of_another_model():
    with pytest.raises(InputError, match=r"`labels` are 3 names, but an image's 'logits' has the"):
        OutputLabels("logits", NAMES, (0.5,) * 3).present(np.zeros((2, 4)))
