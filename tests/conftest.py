import fcntl
import gc
import io
import itertools
import json
import os
import resource
import runpy
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from PIL import Image
from quick_datasets import begin_sooner
from warm_python import LIBRARIES, LIGHT_LIBRARIES, Nursery

import keras_distill

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The same examples on every machine, however slow it is.
hypothesis.settings.register_profile(
    "any_machine",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("any_machine")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks all but n parameters of a test with `quick(n)` slow, before `-m` chooses."""
    tests = {}
    for item in items:
        if item.get_closest_marker("quick"):
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for of_test in tests.values():
        (count,) = of_test[0].get_closest_marker("quick").args
        kept = {place * len(of_test) // count for place in range(count)}
        for place, item in enumerate(of_test):
            if place not in kept:
                item.add_marker(pytest.mark.slow)


def pytest_collection_finish():
    """Spares the garbage collector what has been loaded, TensorFlow above all, which stays."""
    begin_sooner()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def run_python():
    """Runs code in a fresh interpreter and returns what it prints."""

    def run(code, *arguments):
        result = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


@pytest.fixture(scope="session")
def nursery():
    """Starts processes in which TensorFlow is loaded and has done nothing; see warm_python.py."""
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def run_warm_python():
    """Does what `run_python` does where TensorFlow is loaded, and nothing of keras_distill."""
    nursery = Nursery(LIBRARIES)

    def run(code, *arguments):
        result = nursery.run([sys.executable, "-c", code, *map(str, arguments)])
        assert result.returncode == 0, result.stderr
        return result.stdout

    yield run
    nursery.close()


@pytest.fixture(scope="session", autouse=True)
def few_batch_threads():
    """Lets models exported by this process have one thread for batches, not four.

    Those of each model that `tf.saved_model.load` loads stay as long as the process, and wake up a
    thousand times a second.
    """
    from keras_distill.serving.export import graph_batching

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(graph_batching.SETTINGS, "num_batch_threads", 1)
        yield


@pytest.fixture(scope="module")
def partly_labelled_images(tmp_path_factory):
    """Three classes of three noise images, and two images without labels: an odd number."""
    from keras_distill.data.image_set import read_folder

    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for index in range(11):
        path = root / f"class{index % 4}" / f"{index}.{'png' if index % 2 else 'jpg'}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    found = read_folder(root)
    return found.of_classes(range(3)).with_unlabelled(found.of_classes(range(3, 4)))


@pytest.fixture
def dtype_policy():
    """Sets Keras' dtype policy for one test."""
    import keras

    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def value_and_gradient():
    """Returns a function's value at a matrix and its gradient there, as numpy arrays."""
    import tensorflow as tf

    def compute(function, matrix):
        matrix = tf.convert_to_tensor(matrix)
        with tf.GradientTape() as tape:
            tape.watch(matrix)
            value = function(matrix)
        gradient = tape.gradient(value, matrix, unconnected_gradients="zero")
        return value.numpy(), gradient.numpy()

    return compute


@pytest.fixture(scope="session")
def small_embedder():
    """Builds an embedder with a few hundred weights, batch normalisation among them or not."""
    import keras

    def build(dim=4, *, seed=0, image_size=32, batch_norm=True):
        keras.utils.set_random_seed(seed)
        image = keras.Input((image_size, image_size, 3), name="image")
        x = keras.layers.Rescaling(1 / 127.5, -1, dtype="float32")(image)
        x = keras.layers.Conv2D(8, 3, strides=2, activation="tanh")(x)
        if batch_norm:
            x = keras.layers.BatchNormalization()(x)
        x = keras.layers.GlobalAveragePooling2D()(x)
        x = keras.layers.Dense(dim)(x)
        return keras.Model(image, keras.layers.UnitNormalization(dtype="float32")(x))

    return build


@pytest.fixture(scope="session")
def two_outputs():
    """Builds a model with the logits of five classes and a density map 4 x 4 x 1."""
    import keras

    def build(seed=0, image_size=32):
        keras.utils.set_random_seed(seed)
        image = keras.Input((image_size, image_size, 3), name="image")
        x = keras.layers.Rescaling(1 / 127.5, -1, dtype="float32")(image)
        x = keras.layers.Conv2D(8, 3, strides=image_size // 4, padding="same", activation="tanh")(x)
        x = keras.layers.BatchNormalization()(x)
        density = keras.layers.Conv2D(1, 1, activation="softplus", dtype="float32")(x)
        x = keras.layers.GlobalAveragePooling2D()(x)
        logits = keras.layers.Dense(5, dtype="float32")(x)
        return keras.Model(image, {"logits": logits, "density": density})

    return build


@pytest.fixture(scope="session")
def photograph():
    """Makes a JPEG of smooth colours as a phone stores it, and its upright copy as a PNG."""
    import numpy as np
    from PIL import Image, ImageOps

    def encoded(image, file_format, **options):
        buffer = io.BytesIO()
        image.save(buffer, file_format, **options)
        return buffer.getvalue()

    def make(orientation, shape=(48, 80), *, seed=0, **options):
        colours = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        image = Image.fromarray(colours).resize(shape[::-1], Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[0x010F] = "a maker"
        exif[0x0112] = orientation
        exif[0x0132] = "2026:01:01 00:00:00"
        jpeg = encoded(image, "JPEG", quality=90, exif=exif, **options)
        return jpeg, encoded(ImageOps.exif_transpose(Image.open(io.BytesIO(jpeg))), "PNG")

    return make


@pytest.fixture(scope="session")
def small_disk():
    """A context in which no file can grow beyond 64 KiB, the nearest to a full disk."""

    @contextmanager
    def limited():
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture(scope="session")
def few_files():
    """A context in which this process can open so many files more and no others."""
    from keras_distill.data import shard_store

    @contextmanager
    def limited(more):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        shard_store._map.cache_clear()  # a store would close other tests' files to open its own
        gc.collect()  # what other tests have left would close files, and free numbers, meanwhile
        gc.disable()
        # The listing itself takes a number, which is free again afterwards.
        taken = {
            int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")
        }
        free = (number for number in itertools.count() if number not in taken)
        least = next(itertools.islice(free, more, None))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(least, soft), hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            gc.enable()

    return limited


@pytest.fixture
def served():
    """A server that answers like TF-Serving with a model `birds`, and fails on demand."""
    from fake_server import FakeServer

    with FakeServer().running() as server:
        yield server


# Loading TensorFlow takes seconds: few commands are run, and looked at from many sides.

TINY = (
    "--train_classes=:4",
    "--test_classes=4:",
    "--backbone=mobilenet",
    "--backbone_layer=conv_pw_1_relu",
    "--backbone_weights=none",
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
def command(nursery):
    """Runs a command in a process of its own, a fresh one if it gets an environment."""

    def run(name, *flags, cwd=None, **environment):
        arguments = [sys.executable, "-m", f"keras_distill.{name}", *flags]
        if environment:
            env = os.environ | environment
            done = subprocess.run(arguments, capture_output=True, text=True, cwd=cwd, env=env)
        else:
            done = nursery.run(arguments, cwd=cwd)
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def early(command, tmp_path_factory):
    """Runs a command where an import of TensorFlow or Keras ends the process with code 99.

    The process is a fork of one that has loaded little, or, if it is to be `fresh`, one that begins
    with nothing: a process that loads only what is light is mostly busy with its own beginning.
    """
    folder = tmp_path_factory.mktemp("without_tensorflow")
    for package in ("tensorflow", "keras"):
        (folder / f"{package}.py").write_text("import os\n\nos._exit(99)\n")
    path = {"PYTHONPATH": str(folder)}  # forks look there because the nursery does
    nursery = Nursery(LIGHT_LIBRARIES, **path)

    def run(name, *flags, cwd=None, fresh=False):
        if fresh:
            return command(name, *flags, cwd=cwd, **path)
        arguments = [sys.executable, "-m", f"keras_distill.{name}", *flags]
        done = nursery.run(arguments, cwd=cwd, env=os.environ | path)
        return Ended(done.returncode, done.stdout, done.stderr)

    yield run
    nursery.close()


@pytest.fixture
def here(monkeypatch, capfd):
    """Runs a command in this process, where an exception would not end in an exit code."""

    def run(name, *flags):
        monkeypatch.setattr(sys, "argv", [name, *flags])
        file = Path(keras_distill.__file__).with_name(f"{name}.py")
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(file), run_name="__main__")
        if "tensorflow" in sys.modules:  # --deterministic is for the rest of a process
            sys.modules["tensorflow.python.framework.config"].disable_op_determinism()
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


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """96 pictures of 12 classes, some with names that HTML could take for its own."""
    from keras_distill.data.image_set import ImageSet

    root = tmp_path_factory.mktemp("drawn")
    names = tuple(f"{label:02d}.shade_{label}" for label in range(10))
    names += ("10.<img src=x onerror=document.title='broken'>", "11.</script>&amp;\"'ßł\u2028")
    labels = np.repeat(np.arange(12), 8)
    paths = np.array([f"shade {label}/{row}.jpg" for row, label in enumerate(labels)])
    for path, label in zip(paths, labels, strict=True):
        (root / path).parent.mkdir(exist_ok=True)
        Image.new("RGB", (60, 48), (20 * int(label), 120, 90)).save(root / path)
    return ImageSet(root, paths, labels, names)
