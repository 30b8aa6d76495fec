import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import json_format
from PIL import Image
from tensorflow.core.framework import tensor_pb2

from keras_distill import build_embedder
from keras_distill.models.trunks import TRUNKS
from keras_distill.serving.client.messages import PredictRequest

README = Path(__file__).parents[1] / "README.md"


def python_example(word):
    examples = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    (example,) = (text for text in examples if word in text)
    return example


def test_notebook_example_runs(tmp_path, monkeypatch):
    example = python_example("Distiller").replace("steps_per_epoch=100", "steps_per_epoch=1")
    example = example.replace("classes_per_batch=8", "classes_per_batch=2")
    noise = np.random.default_rng(0)
    for label in range(20):
        folder = tmp_path / "photos" / f"{label:02}"
        folder.mkdir(parents=True)
        for index in range(2):
            pixels = noise.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.jpg")
    teacher = build_embedder(  # of the size that the README's own teacher takes
        "mobilenet", alpha=0.25, embedding_dim=16, trunk_weights="none"
    )
    assert teacher.input_shape[1] == TRUNKS["resnet101"].image_size
    (tmp_path / "runs" / "teacher").mkdir(parents=True)
    teacher.save(tmp_path / "runs" / "teacher" / "student.keras")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(example, str(README), "exec"), names)
    history = names["distiller"].history.history
    assert np.isfinite(history["relative"]).all()
    assert len(history["val_recall@1"]) == len(history["relative"]) > 3
    assert (tmp_path / "student.keras").is_file()


def test_client_example_runs(served, tmp_path, monkeypatch):
    served.name = "photos"
    (tmp_path / "birds").mkdir()
    for name in ("robin.jpg", "wren.png", "birds/1.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(python_example("EmbeddingClient").replace("localhost:8500", served.address), names)
    np.testing.assert_array_equal(names["vectors"][1], served.embedding(b"wren.png"))
    np.testing.assert_array_equal(names["result"].vectors, [served.embedding(b"birds/1.jpg")])


@pytest.mark.parametrize("tool", ["grpcurl", "curl"])
def test_other_clients_are_shown_a_request_with_the_image(tool, tmp_path):
    (tmp_path / "robin.jpg").write_bytes(bytes(range(256)))
    examples = re.findall(r"^printf .*?(?=\n\n|```)", README.read_text(), re.S | re.M)
    (example,) = (text for text in examples if f" {tool} " in text)
    sent = subprocess.run(
        ["bash", "-c", f"{tool}() {{ cat; }}\n{example}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if tool == "grpcurl":
        request = json_format.Parse(sent, PredictRequest())
        tensor = tensor_pb2.TensorProto.FromString(
            request.inputs["image_bytes"].SerializeToString()
        )
        assert request.model_spec.name == "photos"
        assert tf.make_ndarray(tensor).tolist() == [bytes(range(256))]
    else:
        (instance,) = json.loads(sent)["instances"]
        assert base64.b64decode(instance["b64"]) == bytes(range(256))


@pytest.mark.parametrize(
    "command",
    [
        *("train", "cache", "evaluate", "ablate", "export", "index", "serve", "client", "report"),
        *("embed", "embed_beam"),
    ],
)
def test_flags_of_the_shell_examples_exist(command):
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", README.read_text(), re.S)).replace("\\\n", " ")
    lines = [line for line in shell.splitlines() if f"keras_distill.{command} " in line]
    lines = [line.partition(" -- ")[0] for line in lines]  # what follows is for Beam
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
