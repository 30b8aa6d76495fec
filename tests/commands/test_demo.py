import os

import numpy as np
import pytest
from PIL import Image

from keras_distill import build_embedder
from keras_distill.demo.__main__ import _run
from keras_distill.demo.server import query_served_student


@pytest.mark.slow
def test_the_student_is_served_and_searched_for(tmp_path, capfd):
    student = tmp_path / "student.keras"
    build_embedder(
        "mobilenet",
        image_size=32,
        alpha=0.25,
        embedding_dim=16,
        backbone_weights="none",
        backbone_layer="conv_pw_1_relu",
    ).save(student)
    _run("export", f"--model={student}", f"--out={tmp_path / 'models'}", "--name=glyphs")
    result = query_served_student(_run, tmp_path, student, "glyphs")
    assert result["least_cosine"] > 0.9999
    assert 0 <= result["right"] <= result["queries"] == 8
    with Image.open(tmp_path / "neighbours.png") as picture:
        assert np.asarray(picture).std() > 20
    output = capfd.readouterr().out
    assert "Stopping the server" in output
    for process in os.listdir("/proc"):
        if process.isdecimal():
            try:
                with open(f"/proc/{process}/cmdline") as file:
                    assert str(tmp_path / "models") not in file.read()
            except OSError:
                continue  # it has ended meanwhile
