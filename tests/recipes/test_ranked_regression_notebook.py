"""The page docs/ranked_regression.md, and what its training has learned, in a fresh process."""

import json
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "ranked_regression.md"

FRESH = """
import json
import sys
from pathlib import Path
import keras
import numpy as np
import keras_distill.models.loading
from scipy.stats import spearmanr

model = keras.models.load_model(Path(sys.argv[1]) / "quality.keras")
random = np.random.default_rng(9)
noise = random.uniform(0, 80, 64)
images = 128 + noise[:, None, None, None] * random.normal(size=(64, 32, 32, 3))
scores = model.predict(images.clip(0, 255).astype("uint8"), verbose=0)["score"][:, 0]
print(json.dumps([spearmanr(scores, -noise)[0], float(np.abs(scores - 5 + noise / 20).mean())]))
"""


@pytest.mark.slow
def test_a_notebook_trains_a_scorer(tmp_path, monkeypatch, run_warm_python):
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.S | re.M)
    assert len(example.splitlines()) <= 24
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(example, str(PAGE), "exec"), names)
    correlation, error = json.loads(run_warm_python(FRESH, tmp_path).splitlines()[-1])
    assert correlation > 0.9
    assert error < 1.0  # the scores spread over 4
