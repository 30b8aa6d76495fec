import keras
import numpy as np
import pytest
from PIL import Image

from keras_distill.evaluation import regression_protocol
from keras_distill.settings.evaluation import EvaluateSettings


def test_comparisons_of_other_splits_alone(tmp_path):
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name)
    file = tmp_path / "comparisons.csv"
    file.write_text("file,file,label\na.png,b.png,1\n")
    settings = EvaluateSettings(dataset=f"folder:{tmp_path}", comparisons=str(file))

    def scorer(images):
        pytest.fail("there is nothing to score")

    model = keras.Sequential([keras.Input((1,))])
    found = regression_protocol._pairs(settings, scorer, model, set())
    assert found == {"accuracy": None, "decided": 0, "undecided": 0, "of_other_splits": 1}
