import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from keras_distill.models.album_model import album_parts
from keras_distill.models.label_names import find_labels

THEMES = {"beach": (0.9, 0.8, 0.2), "forest": (0.1, 0.7, 0.2), "party": (0.9, 0.1, 0.6)}
TRAIN = (
    "--recipe=multilabel",
    "--batch_size=6",
    "--album_layers=1",
    "--album_heads=2",
    "--album_mlp_dim=16",
    "--album_photographs=4",
    "--learning_rate=1e-2",
    "--nogradient_norm",
    "--notensorboard",
)
PIXELS = (
    "--backbone=mobilenet",
    "--backbone_layer=conv_pw_1_relu",
    "--backbone_weights=none",
    "--alpha=0.25",
    "--image_size=32",
    "--crop_area=0.5",
)


@pytest.fixture(scope="session")
def albums(once):
    """30 albums of three events: photographs of an event's colour among grey ones."""

    def draw(folder):
        rng = np.random.default_rng(0)
        for number in range(30):
            event = [*THEMES][number % 3]
            album = folder / "photographs" / event / f"{number:02}"
            album.mkdir(parents=True)
            for place in range(int(rng.integers(3, 7))):
                shade = np.array(THEMES[event]) if place < 2 else np.full(3, rng.random())
                pixels = 255 * shade + rng.normal(0, 12, (32, 32, 3))
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(
                    album / f"{place}.png"
                )

    return once("albums", draw) / "photographs"


@pytest.fixture(scope="session")
def vectors(once, command, albums):
    def embed(folder):
        keras.utils.set_random_seed(0)
        image = keras.Input((32, 32, 3), name="image")
        colour = keras.layers.Rescaling(1 / 64, -2)(keras.layers.GlobalAveragePooling2D()(image))
        vector = keras.layers.Dense(8, "relu")(colour)
        keras.Model(image, keras.layers.UnitNormalization()(vector)).save(folder / "embedder.keras")
        ended = command(
            "embed",
            f"--model={folder / 'embedder.keras'}",
            f"--images={albums}",
            f"--out={folder / 'vectors'}",
        )
        assert ended.code == 0, ended.err

    return once("album_vectors", embed) / "vectors"


@pytest.fixture(scope="session")
def on_vectors(ended_once, command, albums, vectors):
    flags = (f"--dataset=albums:{albums}", f"--album_vectors={vectors}", *TRAIN, "--epochs=20")
    ended = ended_once(
        "albums_on_vectors",
        lambda folder: command("train", *flags, "--ema=0.5", f"--run_dir={folder / 'run'}"),
    )
    assert ended.code == 0, ended.err + ended.out
    return ended


def test_it_learns_from_vectors(on_vectors):
    told = json.loads((on_vectors.path / "run" / "summary.json").read_text())
    assert set(told["labels"]) == set(THEMES)
    assert told["albums"] == {"train": 21, "validation": 3}
    assert told["validation"]["map"] > 0.8, on_vectors.out
    assert set(told["loss"]) == {"loss", "logits"}
    model = keras.models.load_model(on_vectors.path / "run" / "model.keras", compile=False)
    assert album_parts(model).dim == 8
    assert find_labels(model).thresholds is not None
    assert find_labels(model, "mean_vectors").thresholds is not None


def test_it_is_evaluated_with_its_baselines_and_drawn(here, on_vectors, tmp_path):
    file, picture = tmp_path / "figures.json", tmp_path / "albums.png"
    flags = (f"--model={on_vectors.path / 'run'}", "--top_ks=1")
    ended = here("evaluate", *flags, f"--json={file}", f"--picture={picture}")
    assert ended.code == 0, ended.err
    told = json.loads(file.read_text())
    assert (told["protocol"], told["images"], told["thresholds"]) == ("multilabel", 6, "validation")
    assert told["figures"]["map"] > 0.8
    assert set(told["variants"]) == {"mean_vectors", "mean_probabilities"}
    for variant in told["variants"].values():
        difference = told["figures"]["map"] - variant["figures"]["map"]
        assert variant["map_difference"] == pytest.approx(difference)
        low, high = variant["map_difference_interval"]
        assert low <= difference <= high
    assert "mean of vectors" in ended.out
    assert "albums" in ended.out
    with Image.open(picture) as drawn:
        assert drawn.width > 300


def test_other_albums_need_their_own_vectors(here, on_vectors, albums, tmp_path):
    other = tmp_path / "other" / "beach" / "x"
    other.mkdir(parents=True)
    (other / "0.png").write_bytes(next(albums.rglob("*.png")).read_bytes())
    flags = (f"--model={on_vectors.path / 'run'}", f"--dataset=albums:{tmp_path / 'other'}")
    ended = here("evaluate", *flags, "--test_share=0", "--split=train")
    assert ended.code == 2
    assert "--album_vectors is needed" in ended.err


def test_data_for_evaluation_alone_need_no_training_albums(here, on_vectors, albums, tmp_path):
    event, *_ = sorted(path.relative_to(albums).as_posix() for path in albums.glob("*/*"))
    rows = ["album,labels,split", f"{event},beach|sea,test", "party/02,party,test"]
    (tmp_path / "albums.csv").write_text("\n".join([*rows, ""]))
    run, file = on_vectors.path / "run", tmp_path / "figures.json"
    vectors = json.loads((run / "summary.json").read_text())["album_vectors"]
    data = (f"--dataset=albums:{tmp_path / 'albums.csv'}", f"--images={albums}")
    ended = here(
        *("evaluate", f"--model={run}", *data, f"--album_vectors={vectors}"),
        *("--top_ks=1", f"--json={file}"),
    )
    assert ended.code == 0, ended.err
    told = json.loads(file.read_text())
    assert (told["images"], told["left_out_labels"]) == (2, ["sea"])
    ended = here("train", *TRAIN, *data, f"--album_vectors={vectors}", f"--run_dir={tmp_path}/r")
    assert ended.code == 2
    assert "no training albums" in ended.err


def test_what_is_for_single_images_is_refused(here, on_vectors, albums, tmp_path):
    model = f"--model={on_vectors.path / 'run'}"
    ended = here("export", model, f"--out={tmp_path / 'models'}", "--name=albums")
    assert ended.code == 2
    assert "one input of square RGB images" in ended.err
    ended = here("evaluate", model, "--mirror")
    assert ended.code == 2
    assert "--mirror is not offered for albums" in ended.err
    (tmp_path / "labels.csv").write_text("file,labels\n0.png,beach\n")
    (tmp_path / "0.png").write_bytes(next(albums.rglob("*.png")).read_bytes())
    ended = here("evaluate", model, f"--dataset=labels:{tmp_path / 'labels.csv'}")
    assert ended.code == 2
    assert "is a classifier of albums; give --dataset=albums:PATH" in ended.err


MIRRORED = """
import runpy
import sys
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.argv = ["train", *sys.argv[1:]]
runpy.run_module("keras_distill.train", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_two_replicas_learn_what_one_does(command, albums, vectors, tmp_path):
    flags = (f"--dataset=albums:{albums}", f"--album_vectors={vectors}", *TRAIN)
    flags += ("--epochs=2", "--album_dropout=0", "--learning_rate=1e-3")
    one = command("train", *flags, f"--run_dir={tmp_path / 'one'}")
    assert one.code == 0, one.err
    arguments = ["--distribution=mirrored", *flags, f"--run_dir={tmp_path / 'two'}"]
    two = subprocess.run(
        [sys.executable, "-c", MIRRORED, *arguments], capture_output=True, text=True
    )
    assert two.returncode == 0, two.stderr
    left, right = (
        json.loads((tmp_path / name / "summary.json").read_text()) for name in ("one", "two")
    )
    assert right["replicas"] == 2
    assert left["loss"] == pytest.approx(right["loss"], rel=1e-4)


@pytest.mark.slow
def test_a_killed_run_on_photographs_ends_as_if_it_had_not(command, albums, tmp_path):
    """Albums of a CSV file that share photographs; the second album has two labels."""
    rows = ["album,labels,split,photographs"]
    files = sorted(path.relative_to(albums).as_posix() for path in albums.rglob("*.png"))
    for number in range(12):
        labels = ("beach", "forest|party", "party")[number % 3]
        split = "validation" if number >= 9 else "train"
        rows.append(f"{number},{labels},{split},{'|'.join(files[number : number + 5])}")
    (tmp_path / "albums.csv").write_text("\n".join([*rows, ""]))
    flags = [
        f"--dataset=albums:{tmp_path / 'albums.csv'}",
        f"--images={albums}",
        *(*TRAIN, *PIXELS, "--batch_size=3", "--epochs=2", "--deterministic", "--ema=0.9"),
        f"--cache_dir={tmp_path}",
    ]
    whole = command("train", *flags, f"--run_dir={tmp_path / 'whole'}")
    assert whole.code == 0, whole.err + whole.out
    cut = [*flags, "--checkpoint_steps=2", f"--run_dir={tmp_path / 'cut'}"]
    killer = (
        "import os, sys, runpy, keras\n"
        "class Killed(keras.callbacks.Callback):\n"
        "    def on_epoch_end(self, epoch, logs=None): os._exit(9)\n"
        "from keras_distill.training import loop\n"
        "loop.SkippedSteps = Killed\n"
        "sys.argv = ['train', *sys.argv[1:]]\n"
        "runpy.run_module('keras_distill.train', run_name='__main__', alter_sys=True)\n"
    )
    (tmp_path / "killer.py").write_text(killer)
    killed = subprocess.run(
        [sys.executable, str(tmp_path / "killer.py"), *cut], capture_output=True
    )
    assert killed.returncode == 9, killed.stderr
    resumed = command("train", *cut)
    assert resumed.code == 0, resumed.err + resumed.out
    assert "resuming after step 2" in resumed.out
    left, right = (
        keras.models.load_model(tmp_path / name / "model.keras", compile=False).get_weights()
        for name in ("whole", "cut")
    )
    assert all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))
    file = tmp_path / "figures.json"
    ended = command("evaluate", f"--model={tmp_path / 'cut'}", "--split=train", f"--json={file}")
    assert ended.code == 0, ended.err
    assert json.loads(file.read_text())["images"] == 9


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--dataset=albums:none"], "there is no folder or file 'none'"),
        (["--dataset=labels:labels.csv", "--album_layers=2"], "--album_layers=2 has no effect on"),
        (["--dataset=albums:.", "--album_vectors=none"], "there is no such folder"),
        (["--dataset=albums:.", "--album_vectors=.", "--alpha=0.5"], "no effect on vectors"),
        (["--dataset=albums:.", "--album_dropout=1"], "below 1"),
        (["--dataset=albums:.", "--head=words"], "is not offered for albums"),
    ],
)
def test_unusable_flags_are_refused_early(early, tmp_path, flags, said):
    (tmp_path / "labels.csv").write_text("file,labels\n")
    ended = early("train", "--recipe=multilabel", *flags, cwd=tmp_path)
    assert ended.code == 2, ended.out + ended.err
    assert said in ended.err
    assert "Traceback" not in ended.err
