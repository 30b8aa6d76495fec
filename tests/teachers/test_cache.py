import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_distill
from keras_distill.data import shard_store, view_cache
from keras_distill.data.image_set import read_folder
from keras_distill.data.pipeline import evaluation_batches, training_batches, view_batches
from keras_distill.data.shard_store import Shard
from keras_distill.errors import InputError
from keras_distill.teachers.cache import TeacherCache
from keras_distill.teachers.teacher import Teacher, as_teacher

# float16 keeps 11 bits; the teacher itself answers alike within 1e-6 in batches of any size.
ROUNDING = {"rtol": 2**-11, "atol": 1e-6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def images(folder):
    """Four classes of six noise images each, JPEG and PNG, of several shapes."""
    rng = np.random.default_rng(0)
    for label in range(4):
        for index in range(6):
            height, width = rng.integers(16, 41, 2)
            pixels = rng.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
            path = folder / "images" / f"class{label}" / f"{index}.{'png' if index == 0 else 'jpg'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((int(width), int(height))).save(path)
    return read_folder(folder / "images")


@pytest.fixture(scope="module")
def model(small_embedder, folder):
    model = small_embedder(image_size=24)
    model.save(folder / "teacher.keras")
    return model


@pytest.fixture(scope="module")
def teacher(model):
    return as_teacher(model)


@pytest.fixture(scope="module")
def any_size():
    """A model that takes images of any size."""
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(5, 3, activation="tanh")(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))


@pytest.fixture
def open_cache(teacher, images, tmp_path):
    """Opens a cache in a folder of the test's own; arguments replace the usual ones."""

    def open_cache(given_teacher=teacher, given_images=images, folder=tmp_path, **options):
        return TeacherCache(given_teacher, given_images, folder, **{"views": 4} | options)

    return open_cache


@pytest.fixture
def small_shards(monkeypatch):
    """Three shards, of 10, 10 and 4 rows, for each view."""
    monkeypatch.setattr(shard_store, "_SHARD_ROWS", 10)


@pytest.fixture
def asked(monkeypatch):
    """How often a teacher has been asked about the image of an id."""
    asked = Counter()
    call = Teacher.__call__

    def spy(self, images, ids=None):
        asked.update(ids.numpy().tolist())
        return call(self, images, ids)

    monkeypatch.setattr(Teacher, "__call__", spy)
    return asked


@pytest.fixture(scope="module")
def complete(teacher, images, folder):
    """A cache of four views that was filled in one go."""
    cache = TeacherCache(teacher, images, folder / "complete", views=4)
    cache.fill()
    return cache


def read_all(cache, views):
    rows = np.tile(np.arange(len(cache.images)), views)
    return cache.lookup(rows, np.repeat(np.arange(views), len(cache.images))).numpy()


# Cached equals live


@pytest.mark.parametrize(
    ("size", "teacher_size", "views", "options"),
    [
        (16, 24, 3, {}),
        # By a teacher of any size.
        pytest.param(20, None, 2, {"seed": 2**32 - 1}, marks=pytest.mark.slow),
        pytest.param(40, 24, 2, {"seed": 7, "least_area": 0.6}, marks=pytest.mark.slow),
    ],
)
def test_cached_answers_are_those_to_the_pixels_that_the_student_sees(
    open_cache, teacher, any_size, images, size, teacher_size, views, options
):
    if teacher_size is None:
        teacher = as_teacher(any_size)
    cache = open_cache(teacher, views=views, image_size=teacher_size or size, **options)
    cache.fill()
    seen = set()
    for first_step in (0, int(np.random.default_rng(views).integers(1, 10_000))):
        batches = training_batches(
            images,
            image_size=size,
            teacher_image_size=teacher_size,
            steps_per_epoch=1,
            classes_per_batch=4,
            images_per_class=6,
            views=views,
            teacher_embedding=cache.lookup,
            first_step=first_step,
            **options,
        )
        for step, (x, _) in enumerate(batches.take(views + 1), first_step):
            assert x.keys() - {"teacher_image"} == {"image", "id", "teacher_embedding"}
            live = teacher(x["teacher_image" if teacher_size else "image"])
            np.testing.assert_allclose(x["teacher_embedding"], live, **ROUNDING)
            assert x["teacher_embedding"].dtype == tf.float32
            seen |= {(image_id, step % views) for image_id in x["id"].numpy().tolist()}
    assert len(seen) == views * len(images)


@pytest.mark.quick(1)
@pytest.mark.parametrize("scale", [2.0**-90, 1e-7, 1.0, 1e6, 2.0**127])
def test_answers_of_any_size_are_rounded_to_11_bits(open_cache, images, scale):
    small = np.float32([1, 3.3e-5, -1e-6, 0])  # beside what is large

    def function(pixels):
        mean = tf.reduce_mean(tf.cast(pixels, tf.float32), [1, 2, 3])[:, None] / 256
        return mean * small * scale

    teacher = Teacher(function, fingerprint=f"scale {scale}", embedding_dim=4, image_size=8)
    cache = open_cache(teacher, views=1)
    cache.fill()
    (pixels, _), *_ = view_batches(images, image_size=8, view=0)
    np.testing.assert_allclose(read_all(cache, 1), function(pixels), rtol=2**-11, atol=0)


@pytest.mark.slow
def test_cached_answers_differ_by_view(complete):
    answers = read_all(complete, 4).reshape(4, 24, 4)
    for row in range(24):
        apart = np.abs(answers[:, None, row] - answers[None, :, row]).max(-1)
        assert apart[~np.eye(4, dtype=bool)].min() > 1e-3


def test_the_clean_cache_answers_for_the_centre_whatever_the_view(open_cache, teacher, images):
    cache = open_cache(views=None)
    assert cache.missing_rows() == len(images)
    cache.fill()
    live = np.concatenate(
        [teacher(x["image"]) for x, _ in evaluation_batches(images, image_size=24)]
    )
    for views in (np.zeros(24, np.int64), np.arange(24)):
        answer = cache.lookup(tf.range(24, dtype=tf.int64), tf.constant(views))
        np.testing.assert_allclose(answer, live, **ROUNDING)
    assert open_cache(views=None, seed=5, least_area=0.5).missing_rows() == 0


def test_lookup(complete):
    rows = tf.constant([3, 23, 3, 0], tf.int64)
    views = tf.constant([1, 2, 5, 3 + 4 * 10**9], tf.int64)
    answer = complete.lookup(rows, views)
    everything = read_all(complete, 4).reshape(4, 24, 4)
    np.testing.assert_array_equal(answer, everything[views.numpy() % 4, rows])
    np.testing.assert_array_equal(answer[0], answer[2])
    dataset = tf.data.Dataset.from_tensors((rows, views)).map(complete.lookup)
    assert dataset.element_spec == tf.TensorSpec([None, 4], tf.float32)
    np.testing.assert_array_equal(next(iter(dataset)), answer)


def test_lookup_of_what_was_not_filled(open_cache):
    cache = open_cache()
    cache.fill(1)
    answers = tf.data.Dataset.from_tensors(([4], [1])).map(cache.lookup)
    with pytest.raises(tf.errors.OpError, match="view 1 of row 4 is not in"):
        next(iter(answers))


# What names the folder


def one_weight(model, **_):
    changed = keras.models.clone_model(model)
    weights = model.get_weights()
    weights[0][0, 0, 0, 0] = np.nextafter(weights[0][0, 0, 0, 0], np.float32(9))
    changed.set_weights(weights)
    return {"given_teacher": as_teacher(changed)}


def one_byte(images, tmp_path, **_):
    copy = shutil.copytree(images.root, tmp_path / "copy")
    content = bytearray((copy / "class2/3.jpg").read_bytes())
    content[-20] ^= 1
    (copy / "class2/3.jpg").write_bytes(content)
    return {"given_images": replace(images, root=copy)}


def another_name(images, tmp_path, **_):
    copy = shutil.copytree(images.root, tmp_path / "copy")
    (copy / "class2/3.jpg").rename(copy / "class2/3_.jpg")
    return {"given_images": read_folder(copy)}


def select(rows):
    return lambda images, **_: {"given_images": images.select(np.array(rows))}


def patch(module, name, value):
    return lambda monkeypatch, **_: monkeypatch.setattr(module, name, value) or {}


MUTATIONS = {
    "one weight": one_weight,
    "preprocessing": lambda model, **_: {"given_teacher": as_teacher(model, preprocessing="-1_1")},
    "fingerprint": lambda model, **_: {
        "given_teacher": Teacher(model, fingerprint="a", image_size=24, embedding_dim=4)
    },
    "width": lambda model, **_: {
        "given_teacher": Teacher(model, fingerprint="a", image_size=24, embedding_dim=5)
    },
    "least area": lambda **_: {"least_area": 0.08000001},
    "seed": lambda **_: {"seed": 1},
    "centre": lambda **_: {"views": None},
    "one byte of an image": one_byte,
    "name of an image": another_name,
    "order of the images": select([1, 0, *range(2, 24)]),
    "fewer images": select(range(23)),
    "an image twice": select([*range(24), 23]),
    "library": patch(view_cache, "__version__", "0.1.1"),
    "tensorflow": patch(tf, "__version__", "2.20.1"),
    "views": patch(view_cache, "VIEWS_VERSION", 99),
    "keras": lambda model, monkeypatch, **_: {
        "given_teacher": patch(keras, "__version__", "3.99")(monkeypatch) or as_teacher(model)
    },
}


@pytest.mark.quick(4)
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_whatever_changes_the_answers_has_a_folder_of_its_own(
    mutation, complete, open_cache, model, images, tmp_path, monkeypatch
):
    root = complete.folder.parent
    assert open_cache(folder=root).folder == complete.folder
    changed = MUTATIONS[mutation](
        model=model, images=images, tmp_path=tmp_path, monkeypatch=monkeypatch
    )
    cache = open_cache(**{"folder": root} | changed)
    assert cache.folder != complete.folder
    assert cache.missing_rows() == len(cache.images) * (cache.views or 1)
    monkeypatch.undo()
    assert open_cache(folder=root).missing_rows() == 0


def test_the_size_of_the_images_counts(open_cache, any_size):
    caches = [
        open_cache(as_teacher(any_size), image_size=24),
        open_cache(as_teacher(any_size), image_size=25),
        open_cache(as_teacher(any_size, image_size=24)),
        open_cache(as_teacher(any_size, image_size=24), image_size=24),
    ]
    assert caches[0].folder != caches[1].folder
    assert caches[2].folder == caches[3].folder


def test_no_two_ingredients_are_taken_for_each_other(open_cache, any_size):
    teacher = as_teacher(any_size)
    folders = {
        open_cache(teacher, image_size=size, seed=seed, least_area=area).folder
        for size in (1, 2)
        for seed in (1, 2)
        for area in (0.1, 0.2)
    }
    assert len(folders) == 8


def test_what_does_not_change_the_answers_does_not_count(
    complete, open_cache, model, images, tmp_path
):
    root = complete.folder.parent
    elsewhere = replace(images, root=shutil.copytree(images.root, tmp_path / "copy"))
    relabelled = replace(images, labels=images.labels[::-1])
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for same in (
        {"given_images": elsewhere},
        {"given_images": relabelled},
        {"given_teacher": as_teacher(copy)},
        {"views": 2},
        {"image_size": 24},
    ):
        assert open_cache(folder=root, **same).folder == complete.folder
    moved = shutil.copytree(root, tmp_path / "moved")
    assert open_cache(folder=moved).missing_rows() == 0


def test_manifest_names_the_ingredients(complete):
    manifest = json.loads((complete.folder / "manifest.json").read_text())
    assert manifest["keras_distill"] == keras_distill.__version__
    assert manifest["tensorflow"] == tf.__version__
    assert manifest["teacher"] == complete.teacher.fingerprint
    assert manifest["view"] == {"seed": 0, "least_area": 0.08}
    assert (manifest["image_size"], manifest["rows"]) == (24, 24)
    assert manifest["outputs"] == {"embedding": [4], "exponents": [1]}


# Filling


def test_nothing_is_computed_twice(open_cache, images, asked):
    cache, rows = open_cache(views=3), []
    cache.fill(batch_size=7, on_rows=rows.append)
    assert rows == [7, 7, 7, 3] * 3
    assert asked == dict.fromkeys(images.ids.tolist(), 3)
    for again in (cache, open_cache(views=3), open_cache(views=2), open_cache(views=8)):
        again.fill(3)
    assert asked.total() == 24 * 3


@pytest.mark.slow
def test_more_views_are_added_to_those_that_are_there(open_cache, asked):
    few = open_cache(views=4)
    few.fill()
    before = read_all(few, 4)
    assert asked.total() == 24 * 4
    many = open_cache(views=8)
    assert many.folder == few.folder
    assert (many.missing_rows(), many.missing_rows(4), many.missing_rows(5)) == (96, 0, 24)
    many.fill(5)
    assert asked.total() == 24 * 5
    many.fill()
    assert asked.total() == 24 * 8
    np.testing.assert_array_equal(read_all(many, 4), before)
    assert few.missing_rows() == 0


def test_fewer_views_than_there_may_be(open_cache, asked):
    cache = open_cache(views=2)
    cache.fill(100)
    assert asked.total() == 48
    assert (cache.nbytes(), cache.nbytes(100), cache.nbytes(1)) == (480, 480, 240)


@pytest.mark.slow
def test_interrupted_it_keeps_the_whole_shards(open_cache, asked, small_shards):
    def interrupt(rows):
        if asked.total() > 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_cache(views=2).fill(batch_size=6, on_rows=interrupt)
    cache = open_cache(views=2)
    assert cache.missing_rows() == 24
    assert asked.total() == 24 + 6  # of the next ten
    cache.fill()
    assert asked.total() == 48 + 6


def test_a_width_that_nobody_told_is_found_out(open_cache, model):
    cache = open_cache(Teacher(model, fingerprint="a", image_size=24))
    cache.fill(1)
    assert read_all(cache, 1).shape == (24, 4)


@pytest.mark.parametrize(
    "function",
    [
        lambda mean: 1 / mean,
        lambda mean: (mean - mean[:, :1]) / mean,
        lambda mean: 3e38 * (1.2 - mean / 100),  # beyond float32
    ],
)
def test_an_answer_that_is_not_finite_names_its_image(
    function, open_cache, images, tmp_path, small_shards
):
    copy = shutil.copytree(images.root, tmp_path / "copy")
    Image.new("RGB", (30, 20)).save(copy / "class2/0.png")
    teacher = Teacher(
        lambda pixels: function(tf.reduce_mean(tf.cast(pixels, tf.float32), [1, 2])),
        fingerprint="means",
        embedding_dim=3,
        image_size=8,
    )
    cache = open_cache(teacher, read_folder(copy))
    with pytest.raises(InputError, match=r"output of `teacher` for 'class2/0\.png' is not finite."):
        cache.fill(batch_size=4)
    assert cache.missing_rows(1) == 14  # the ten rows before its shard are kept


def test_a_full_disk_ends_it_and_keeps_what_is_there(open_cache, asked, monkeypatch, small_shards):
    cache, written = open_cache(views=2), []

    def fsync(descriptor):
        if len(written) == 4:  # two shards of two files
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(InputError, match=r"could not be written \(No space left.*Free some"):
            cache.fill()
    assert len(list(cache.folder.rglob("*.npy"))) == 4
    assert cache.missing_rows() == 48 - 20
    assert asked.total() == 24  # four of them in vain
    cache.fill()
    assert asked.total() == 24 + 28
    assert cache.missing_rows() == 0


# What cannot be cached


def test_a_plain_function_has_no_cache(open_cache):
    with pytest.raises(InputError, match=r"plain function, .* Teacher\(function, fingerprint="):
        open_cache(Teacher(lambda pixels: pixels[:, 0, 0], image_size=8))


def test_the_size_of_the_images_must_be_known_and_the_teachers(open_cache, any_size, teacher):
    with pytest.raises(InputError, match="`teacher` takes images of any size; give `image_size`"):
        open_cache(as_teacher(any_size))
    with pytest.raises(InputError, match=r"`image_size=32`: `teacher` takes 24 pixels"):
        open_cache(teacher, image_size=32)


def test_a_folder_that_cannot_be_made(open_cache, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="could not be written"):
        open_cache(folder=tmp_path / "file")


def test_space_is_checked_before_anything_is_computed(open_cache, asked):
    cache = open_cache(views=8)
    assert cache.nbytes() == 24 * 8 * 5 * 2
    cache.check_space(1921e-9)
    cache.check_space(500e-9, views=2)
    with pytest.raises(InputError) as error:
        cache.check_space(1919e-9)
    assert str(error.value) == (
        "the teacher cache needs 1.92e-06 GB (24 images x 8 views x 10 bytes), more than "
        "`max_gb=1.919e-06`; raise `max_gb`, choose fewer views, or turn the cache off."
    )
    with pytest.raises(InputError, match=r"more than `max_gb=0`; "):
        cache.check_space(0, views=1)
    assert asked.total() == 0
    assert [path.name for path in cache.folder.iterdir()] == ["manifest.json"]


def test_free_space_is_checked_for_what_is_missing(open_cache, monkeypatch):
    cache = open_cache()
    cache.fill(1)
    usage = shutil.disk_usage(cache.folder)._replace(free=719)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError) as error:
        cache.check_space(1)
    assert str(error.value) == (
        "the teacher cache needs 9.6e-07 GB (24 images x 4 views x 10 bytes), "
        f"7.2e-07 GB of it still to be written, but {cache.folder} has 7.19e-07 GB free; free "
        "some space or put the cache elsewhere."
    )
    cache.check_space(1, views=3)


# Other processes


WORKER = """
import json, os, signal, sys, time
from pathlib import Path

from keras_distill.data import shard_store, shared_work
from keras_distill.data.image_set import read_folder
from keras_distill.teachers.cache import TeacherCache
from keras_distill.teachers.loading import load_teacher
from keras_distill.teachers.teacher import Teacher

folder, name, die_at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
shard_store._SHARD_ROWS = 10
shared_work._SECONDS_BETWEEN_LOOKS = 0.01
fsync, calls, asked = os.fsync, [], []


def fsync_or_die(descriptor):
    calls.append(descriptor)
    if len(calls) == die_at:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)


def logged(self, images, ids=None, call=Teacher.__call__):
    asked.extend(ids.numpy().tolist())
    time.sleep(0.05)
    return call(self, images, ids)


os.fsync = fsync_or_die
Teacher.__call__ = logged
teacher = load_teacher(folder / "teacher.keras")
images = read_folder(folder / "images")
cache = TeacherCache(teacher, images, folder / "shared", views=2)
(folder / f"{name}.ready").touch()
while not (folder / f"{name}.go").exists():
    time.sleep(0.001)
cache.fill()
print(json.dumps({"folder": str(cache.folder), "asked": asked, "missing": cache.missing_rows()}))
"""


@pytest.fixture(scope="module")
def start(folder, model, images):
    """Starts a process that fills the shared cache as soon as there is a file `NAME.go`."""

    def start(name, die_at=0):
        return subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder), name, str(die_at)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.mark.slow
def test_killed_in_mid_write_then_continued_by_two_at_once(
    folder, start, complete, teacher, images, asked, small_shards
):
    heirs = ["one", "other"]
    killed, *processes = [start("killed", die_at=5), *map(start, heirs)]
    (folder / "killed.go").touch()
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    (left,) = (folder / "shared").glob("*/view*/.tmp-*")  # of the third shard, without its name
    cache = TeacherCache(teacher, images, folder / "shared", views=2)
    assert (cache.folder.name, cache.folder) == (complete.folder.name, left.parents[1])
    missing = cache.store.missing(range(2))
    assert len(missing) == 6 - 2
    parts = (range(10), range(10, 20), range(20, 24))
    for shard in {Shard(view, rows) for view in range(2) for rows in parts} - {*missing}:
        rows = np.array(shard.rows)
        views = np.full(len(rows), shard.view)
        np.testing.assert_allclose(
            cache.lookup(rows, views),
            complete.lookup(rows, views),
            rtol=2**-10,
            atol=1e-6,
        )

    while not all((folder / f"{name}.ready").exists() for name in heirs):
        assert {process.poll() for process in processes} == {None}
        time.sleep(0.01)
    for name in heirs:
        (folder / f"{name}.go").touch()
    reports = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
        reports.append(json.loads(out))
    for report in reports:
        assert report["missing"] == 0
        assert report["folder"] == str(cache.folder)
    computed = Counter(reports[0]["asked"]) + Counter(reports[1]["asked"])
    assert computed == Counter(  # each shard by one of them, and no other
        images.ids[row] for shard in missing for row in shard.rows
    )

    assert cache.missing_rows() == 0
    cache.fill()
    assert asked.total() == 0
    np.testing.assert_allclose(read_all(cache, 2), read_all(complete, 2), rtol=2**-10, atol=1e-6)


@pytest.mark.slow
def test_what_changes_while_a_cache_is_filled_is_not_kept(open_cache, images, tmp_path):
    copy = replace(images, root=shutil.copytree(images.root, tmp_path / "changing"))
    file = copy.root / copy.paths[3]

    def act_after(act):
        cache = open_cache(given_images=copy, views=2)
        compute, calls = cache.compute, []

        def computed(*arguments):
            calls.append(1)
            if len(calls) == 2:  # in the second view
                act()
            return compute(*arguments)

        cache.compute = computed
        return cache

    file.touch()
    cache = act_after(file.touch)
    cache.fill()
    assert cache.missing_rows() == 0
    shutil.rmtree(cache.folder)
    former = file.read_bytes()
    cache = act_after(lambda: file.write_bytes((copy.root / copy.paths[4]).read_bytes()))
    with pytest.raises(InputError, match=rf"'{file}' was changed by another program"):
        cache.fill()
    assert cache.missing_rows() == len(copy)  # the first view is of the former image
    file.write_bytes(former)
    cache = act_after(lambda: None)
    cache.fill()
    assert cache.missing_rows() == 0


def test_answers_of_a_teacher_that_changes_are_dropped(open_cache, images):
    texts = ["before", "before", "after"]
    teacher = Teacher(
        lambda pixels: tf.reduce_mean(tf.cast(pixels, tf.float32), [1, 2]) / 255,
        embedding_dim=3,
        image_size=24,
        fingerprint=lambda: texts.pop(0),
    )
    open_cache(teacher).fill(1)  # nothing has changed, and it is kept
    texts[:] = ["before", "after"]
    cache = open_cache(teacher)
    with pytest.raises(InputError, match="`teacher` was changed while the teacher cache was"):
        cache.fill()
    assert cache.missing_rows(1) == 0
    assert cache.missing_rows() == 3 * len(images)
