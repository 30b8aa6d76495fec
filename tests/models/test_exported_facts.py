import json

import pytest

from keras_distill.models.exported_facts import FACTS_FILE, exported_facts


def test_facts_of_a_folder_and_of_a_file(tmp_path):
    (tmp_path / FACTS_FILE).parent.mkdir()
    (tmp_path / FACTS_FILE).write_text(json.dumps({"mirror": True}))
    assert exported_facts(tmp_path) == {"mirror": True}
    (tmp_path / "birds_int8.tflite").touch()
    (tmp_path / "birds_int8.json").write_text(json.dumps({"mirror": False}))
    assert exported_facts(tmp_path / "birds_int8.tflite") == {"mirror": False}


@pytest.mark.parametrize("text", [None, "{", "[1]", "\x80"])
def test_no_facts_of_other_models(tmp_path, text):
    if text is not None:
        (tmp_path / "model.json").write_text(text, encoding="latin-1")
    assert exported_facts(tmp_path / "model.onnx") == {}
