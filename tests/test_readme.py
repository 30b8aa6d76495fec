import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_distill import build_embedder

README = Path(__file__).parents[1] / "README.md"


def test_notebook_example_runs(tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    noise = np.random.default_rng(0)
    for label in range(3):
        folder = tmp_path / "photos" / str(label)
        folder.mkdir(parents=True)
        for index in range(4):
            pixels = noise.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.jpg")
    teacher = build_embedder(
        "mobilenet", alpha=0.25, image_size=128, embedding_dim=16, trunk_weights="none"
    )
    (tmp_path / "runs" / "teacher").mkdir(parents=True)
    teacher.save(tmp_path / "runs" / "teacher" / "student.keras")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(example, str(README), "exec"), names)
    assert np.isfinite(names["distiller"].history.history["relative"]).all()
    assert (tmp_path / "student.keras").is_file()


@pytest.mark.parametrize("command", ["train", "cache", "evaluate", "ablate", "export", "index"])
def test_flags_of_the_shell_examples_exist(command):
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", README.read_text(), re.S)).replace("\\\n", " ")
    lines = [line for line in shell.splitlines() if f"keras_distill.{command} " in line]
    unquoted = re.sub('"[^"]*"', "", "\n".join(lines))  # a variant has flags of other commands
    used = set(re.findall(r"--(\w+)", unquoted))
    assert used
    help_text = subprocess.run(
        [sys.executable, "-m", f"keras_distill.{command}", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert used <= set(re.findall(r"^  --(\w+)", help_text, re.M))
