import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from werkzeug.test import Client

from keras_distill.data.image_set import read_folder
from keras_distill.training.tensorboard_projector import write_projector


@pytest.fixture
def images(tmp_path):
    for label in range(3):
        folder = tmp_path / "photos" / f"class {label}"
        folder.mkdir(parents=True)
        for index in range(4):
            colour = (80 * label, 60 * index, 0)
            Image.new("RGB", (64, 64), colour).save(folder / f"{index}.png")
    return read_folder(tmp_path / "photos")


@pytest.fixture
def asked(images, tmp_path, small_embedder):
    """What TensorBoard's own plugin answers about a run."""
    run = tmp_path / "logs" / "run"
    student = small_embedder(image_size=32)
    write_projector(run, student, images, 7)
    with tf.summary.create_file_writer(str(run)).as_default():
        tf.summary.scalar("loss", 1.0, step=1)
    logs = str(tmp_path / "logs")
    multiplexer = EventMultiplexer().AddRunsFromDirectory(logs).Reload()
    provider = MultiplexerDataProvider(multiplexer, logs)
    apps = ProjectorPlugin(TBContext(logdir=logs, data_provider=provider)).get_plugin_apps()

    def ask(route):
        answer = Client(apps[route]).get(
            "/", query_string={"run": "run", "name": "student", "num_rows": "99"}
        )
        assert answer.status_code == 200
        return answer

    return ask, student, images


def test_the_plugin_reads_embeddings_names_and_thumbnails(asked, tmp_path):
    ask, student, images = asked
    assert ask("/runs").json == ["run"]
    (embedding,) = ask("/info").json["embeddings"]
    assert embedding["tensorShape"] == [7, 4]
    assert embedding["sprite"]["singleImageDim"] == [48, 48]
    header, *rows = ask("/metadata").text.splitlines()
    assert header == "class\timage"
    names = [row.split("\t") for row in rows]
    assert len(names) == 7
    assert {label for label, _ in names} == {"class 0", "class 1", "class 2"}
    pixels = np.stack(
        [np.asarray(Image.open(images.root / path).resize((32, 32))) for _, path in names]
    )
    tensor = np.frombuffer(ask("/tensor").data, np.float32).reshape(7, 4)
    np.testing.assert_allclose(tensor, student(pixels), atol=1e-4)
    (tmp_path / "sprite.png").write_bytes(ask("/sprite_image").data)
    sprite = np.asarray(Image.open(tmp_path / "sprite.png"))
    assert sprite.shape == (3 * 48, 3 * 48, 3)
    for place, each in enumerate(pixels):
        row, column = divmod(place, 3)
        thumbnail = sprite[48 * row :, 48 * column :][:48, :48]
        np.testing.assert_allclose(thumbnail.mean((0, 1)), each.mean((0, 1)), atol=1.5)


def test_all_of_few_images_and_odd_names(images, tmp_path, small_embedder):
    shutil.move(images.root / "class 0" / "0.png", images.root / "class 0" / "a\tb.png")
    images = read_folder(images.root)
    write_projector(tmp_path, small_embedder(image_size=32), images, 500)
    lines = (tmp_path / "projector" / "images.tsv").read_text().splitlines()
    assert len(lines) == 13
    assert lines[4] == "class 0\tclass 0/a b.png"
