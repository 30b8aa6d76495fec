"""A classifier with names for its logits: exported, served, and asked by the command."""

import json

import keras
import numpy as np
import pytest

from keras_distill.models.label_names import LabelNames
from keras_distill.serving.client.client import EmbeddingClient
from keras_distill.serving.client.output_labels import read_labels
from keras_distill.serving.export.bundle import export_model
from keras_distill.serving.export.bundle_check import check_bundle
from keras_distill.serving.export.model_file import export_file

NAMES = ("red", "green", "blue | violet")


def classifier():
    """Tells which colours are strong: its logits are the means of the channels, less 128."""
    image = keras.Input((32, 32, 3), name="image")
    x = keras.layers.Rescaling(1 / 10, -12.8)(keras.layers.GlobalAveragePooling2D()(image))
    return keras.Model(image, {"logits": LabelNames(NAMES, [0.5, 0.9, 0.5])(x)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return export_model(classifier(), tmp_path_factory.mktemp("models"), name="tags")


@pytest.fixture(scope="module")
def server(folder, server_process):
    with server_process(f"--models={folder.parents[1]}") as server:
        yield server


@pytest.fixture
def images(tmp_path):
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    colours = {"red.png": (250, 0, 0), "lime.png": (160, 140, 0), "grey.png": (60, 60, 60)}
    for name, colour in {**colours, "violet.png": (200, 0, 250)}.items():
        Image.new("RGB", (40, 40), colour).save(folder / name)
    return folder


def test_the_export_names_its_labels(folder):
    facts = json.loads((folder / "assets.extra" / "distill.json").read_text())
    assert facts["outputs"]["logits"] == {
        "shape": [None, 3],
        "dtype": "float32",
        "labels": list(NAMES),
        "thresholds": [0.5, 0.9, 0.5],
        "activation": "sigmoid",
    }
    card = (folder / "MODEL_CARD.md").read_text()
    assert (
        "\n\nThe sigmoid of `logits` is the probability of each label, which counts as present "
        "from thresholds in `distill.json`: red, green, blue | violet.\n"
    ) in card
    assert "--out=answers.npz \\\n    --labels=models/tags/1\n```" in card
    assert check_bundle(folder) == []
    assert read_labels(folder).names == NAMES


def test_a_file_for_phones_names_them(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    file = export_file(classifier(), tmp_path, pixels, name="tags")
    (output,) = json.loads(file.with_suffix(".json").read_text())["outputs"]
    assert output["labels"] == list(NAMES)
    assert output["activation"] == "sigmoid"


def test_python_client(server, folder, images):
    with EmbeddingClient(server.grpc, model="tags") as client:
        logits = client.predict([images / "red.png", images / "violet.png"])["logits"]
    rows = read_labels(folder).present(logits)
    assert [list(row) for row in rows] == [["red"], ["blue | violet", "red"]]


def command(server, images, tmp_path, labels, *flags):
    out = tmp_path / "answers.npz"
    return (
        *("client", "predict", f"--address={server.grpc}", "--model=tags"),
        *(f"--images={images}", f"--out={out}", f"--labels={labels}", *flags),
    )


def test_the_command_prints_labels(server, folder, images, here, tmp_path):
    ended = here(*command(server, images, tmp_path, folder))
    assert ended.code == 0, ended.err
    *lines, summary = ended.out.splitlines()
    assert lines == [
        "grey.png: no label",
        "lime.png: red 0.96",
        "red.png: red 1.00",
        "violet.png: blue | violet 1.00, red 1.00",
    ]
    assert "labels" not in json.loads(summary)
    ended = here(*command(server, images, tmp_path, folder, "--threshold=0.7", "--json=-"))
    rows = json.loads(ended.out)["labels"]
    assert list(rows["lime.png"]) == ["red", "green"]
    assert rows["lime.png"]["green"] == pytest.approx(1 / (1 + np.exp(-1.2)), abs=1e-3)
    assert rows["grey.png"] == {}


def test_names_in_a_text_file(server, images, here, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("rot\ngrün\nblau\n", encoding="utf-8")
    ended = here(*command(server, images, tmp_path, names))
    assert "lime.png: rot 0.96, grün 0.77" in ended.out.splitlines()
    names.write_text("rot\n")
    ended = here(*command(server, images, tmp_path, names))
    assert ended.code == 2
    assert "--labels are 1 names, but an image's 'logits' has the shape (3,)" in ended.err
    ended = here(*command(server, images, tmp_path, tmp_path / "missing.txt"))
    assert ended.code == 2
    assert "missing.txt does not exist." in ended.err
    ended = here(*command(server, images, tmp_path, names, "--threshold=2"))
    assert ended.code == 2
    assert "--threshold=2 must be a probability" in ended.err


def test_labels_of_another_verb(here):
    ended = here("client", "status", "--model=tags", "--labels=a")
    assert ended.code == 2
    assert "--labels has no effect on status" in ended.err
