"""The page docs/multilabel.md, and what its training has learned, in a process of its own."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "multilabel.md"

FRESH = """
import json
import sys
from pathlib import Path
import keras
import numpy as np
from keras_distill import find_labels

folder = Path(sys.argv[1])
model = keras.models.load_model(folder / "colours.keras")
images = np.load(folder / "images.npy")
labels = find_labels(model)
np.save(folder / "probabilities.npy", labels.probabilities(model.predict(images)["logits"]))
print(json.dumps(labels.names))
"""


def average_precision(scores, present):
    ranked = present[np.argsort(-scores, kind="stable")]
    return np.mean((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked])


@pytest.mark.slow
def test_a_notebook_trains_a_classifier(tmp_path, monkeypatch, run_warm_python):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.S | re.M)
    (example,) = (block for block in blocks if "build_classifier(" in block)
    assert len(example.splitlines()) <= 32
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(example, str(PAGE), "exec"), names)
    images, targets = names["draw"](np.random.default_rng(9), 200)
    np.save(tmp_path / "images.npy", images)
    printed = run_warm_python(FRESH, tmp_path).splitlines()[-1]
    assert json.loads(printed) == ["red", "green", "blue"]
    probabilities = np.load(tmp_path / "probabilities.npy")
    precisions = [
        average_precision(probabilities[:, place], targets[:, place] == 1) for place in range(3)
    ]
    assert 0.4 < targets.mean() < 0.6  # which is what guessing would give
    assert np.mean(precisions) > 0.9
