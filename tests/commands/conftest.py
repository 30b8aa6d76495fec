"""Loading TensorFlow takes seconds: few commands are run, and looked at from many sides."""

import fcntl
import json
import os
import runpy
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_distill

TINY = (
    "--train_classes=:4",
    "--test_classes=4:",
    "--trunk=mobilenet",
    "--trunk_layer=conv_pw_1_relu",
    "--trunk_weights=none",
    "--alpha=0.25",
    "--image_size=32",
    "--embedding_dim=8",
    "--epochs=1",
    "--steps_per_epoch=2",
    "--classes_per_batch=2",
    "--images_per_class=2",
    "--projector=0",
)


@dataclass(frozen=True)
class Ended:
    """How a command ended, and where it wrote."""

    code: int
    out: str
    err: str
    path: Path | None = None


@pytest.fixture(scope="session")
def tiny():
    """Flags of a training that takes a moment."""
    return TINY


@pytest.fixture(scope="session")
def command():
    """Runs a command in a process of its own."""

    def run(name, *flags, cwd=None, **environment):
        done = subprocess.run(
            [sys.executable, "-m", f"keras_distill.{name}", *flags],
            capture_output=True,
            text=True,
            cwd=cwd,
            env=os.environ | environment,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def early(command, tmp_path_factory):
    """Runs a command where an import of TensorFlow or Keras ends the process with code 99."""
    folder = tmp_path_factory.mktemp("without_tensorflow")
    for package in ("tensorflow", "keras"):
        (folder / f"{package}.py").write_text("import os\n\nos._exit(99)\n")

    def run(name, *flags, cwd=None):
        return command(name, *flags, cwd=cwd, PYTHONPATH=str(folder))

    return run


@pytest.fixture
def here(monkeypatch, capfd):
    """Runs a command in this process, where an exception would not end in an exit code."""

    def run(name, *flags):
        monkeypatch.setattr(sys, "argv", [name, *flags])
        file = Path(keras_distill.__file__).with_name(f"{name}.py")
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(file), run_name="__main__")
        return Ended(ended.value.code or 0, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Fills a folder once, in whichever pytest worker needs it first."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def make(name, fill):
        folder, done = root / name, root / f"{name}.done"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                folder.mkdir(exist_ok=True)
                fill(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def photos(once):
    """A folder of 6 classes x 10 images, of stripes in the class's direction and colour."""

    def draw(folder):
        rng = np.random.default_rng(0)
        y, x = np.mgrid[:40, :40]
        for label in range(6):
            (folder / f"class_{label}").mkdir()
            colour = rng.uniform(60, 200, 3)
            for index in range(10):
                stripes = np.sin((x * np.cos(label) + y * np.sin(label)) / 3 + rng.uniform(0, 6))
                pixels = colour + 40 * stripes[..., None] + rng.normal(0, 30, 3)
                pixels = np.clip(pixels + rng.normal(0, 20, (40, 40, 3)), 0, 255).astype(np.uint8)
                suffix = "png" if index == 0 else "jpg"
                Image.fromarray(pixels).save(folder / f"class_{label}" / f"{index}.{suffix}")

    return once("photos", draw)


@pytest.fixture(scope="session")
def damaged_photos(once, photos):
    """The same images, of which two cannot be read: class_0/1.jpg and class_2/0.png."""

    def damage(folder):
        for file in photos.rglob("*.*"):
            copy = folder / file.relative_to(photos)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(file.read_bytes())
        (folder / "class_0" / "1.jpg").write_text("no image")
        truncated = folder / "class_2" / "0.png"
        truncated.write_bytes(truncated.read_bytes()[:900])

    return once("damaged_photos", damage)


@pytest.fixture(scope="session")
def ended_once(once):
    """Runs `launch(folder)` once under a name and returns how that ended, and the folder."""

    def run(name, launch):
        def fill(folder):
            ended = launch(folder)
            (folder / "ended.json").write_text(json.dumps([ended.code, ended.out, ended.err]))

        folder = once(name, fill)
        return Ended(*json.loads((folder / "ended.json").read_text()), folder)

    return run


@pytest.fixture(scope="session")
def train(ended_once, command, photos):
    """Trains once under a name, and returns how that ended, and the run directory."""

    def run(name, *flags):
        def launch(folder):
            data, output = f"--dataset=folder:{photos}", f"--run_dir={folder / 'run'}"
            return command("train", data, *TINY, f"--cache_dir={folder}", *flags, output)

        ended = ended_once(name, launch)
        return replace(ended, path=ended.path / "run")

    return run


@pytest.fixture(scope="session")
def teacher(ended_once, command, photos):
    """A training without a teacher, 2 epochs on images of 40 pixels, from a flag file."""

    def launch(folder):
        lines = [*TINY, f"--dataset=folder:{photos}", "--image_size=40", "--epochs=2"]
        lines.append("--validation_classes=2:4")
        (folder / "striped.flags").write_text("\n".join(["# a teacher", *lines, ""]))
        return command("train", "--flagfile=striped.flags", "--seed=3", cwd=folder)

    ended = ended_once("teacher", launch)
    return replace(ended, path=ended.path / "runs" / "striped")


@pytest.fixture(scope="session")
def vectors(photos, teacher):
    """What that teacher makes of the photos."""
    import keras

    from keras_distill import embed_batches, evaluation_batches
    from keras_distill.data.image_set import read_folder

    model = keras.models.load_model(teacher.path / "student.keras", compile=False)
    return embed_batches(model, evaluation_batches(read_folder(photos), image_size=40))[0]


@pytest.fixture(scope="session")
def distilled(train, teacher):
    """A student of that teacher, under both teacher losses."""
    losses = "--teacher_losses=absolute:2,relative:0.5"
    return train("distilled", f"--teacher={teacher.path}", losses, "--task_weight=0.7")


@pytest.fixture(scope="session")
def narrow(train, teacher):
    """A student of 4 dimensions under that teacher of 8, in the teacher's main directions."""
    losses = "--teacher_losses=absolute:1"
    return train(
        "narrow",
        f"--teacher={teacher.path}",
        losses,
        "--teacher_projection=pca",
        "--embedding_dim=4",
    )


@pytest.fixture(scope="session")
def exported(ended_once, command, teacher):
    """The teacher as a SavedModel."""

    def launch(folder):
        out = f"--out={folder / 'models'}"
        return command("export", f"--model={teacher.path}", out, "--name=striped")

    ended = ended_once("exported", launch)
    return replace(ended, path=ended.path / "models" / "striped" / "1")
