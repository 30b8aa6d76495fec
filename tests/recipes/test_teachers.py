import contextlib
import io
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from rich.console import Console

from keras_distill.data.image_set import ImageSet
from keras_distill.losses.attention_maps import AttentionMaps
from keras_distill.losses.hint import Hint
from keras_distill.losses.relative_teacher import RelativeTeacher
from keras_distill.recipes import teacher_embeddings
from keras_distill.recipes.teacher_embeddings import TeacherEmbeddings
from keras_distill.recipes.teachers import RecipeTeachers, _plain_views, feature_layers
from keras_distill.settings.distill import DistillSettings
from keras_distill.teachers.projected_teacher import fit_pca


def opened(sizes, asked):
    teachers = {name: SimpleNamespace(image_size=size) for name, size in sizes.items()}
    return RecipeTeachers(teachers, {}, None, {}, set(asked), {}, {})


def test_teachers_that_are_asked_about_another_size_get_images_of_it():
    several = opened({"same": 32, "any": None, "large": 40, "cached": 48}, ["same", "any", "large"])
    assert several.image_sizes(32) == {"large": 40}
    assert opened({"": 32}, [""]).image_sizes(32) is None
    assert opened({"": 40}, [""]).image_sizes(32) == 40


def test_all_teachers_that_are_asked_get_good_images_where_the_student_gets_none():
    several = opened({"same": 32, "any": None, "large": 40, "cached": 48}, ["same", "any", "large"])
    assert several.image_sizes(32, degraded=True) == {"same": 32, "any": 32, "large": 40}
    assert opened({"": None}, [""]).image_sizes(32, degraded=True) == 32
    assert opened({"": 40}, []).image_sizes(32, degraded=True) is None


def embedder(size):
    image = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same", name="fine")(image)
    x = keras.layers.Conv2D(7, 3, strides=2, padding="same", name="coarse")(x)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))


def test_attention_alone_needs_less_than_a_map():
    teachers = {name: SimpleNamespace(owner=embedder(32)) for name in "abc"}
    both = AttentionMaps([("fine", "fine"), ("coarse", "coarse")])
    losses = {
        "a": [RelativeTeacher(), both],
        "b": [both, Hint([("fine", "fine")])],
        "c": [both, AttentionMaps([("coarse", "fine")])],
    }
    assert feature_layers(losses, teachers, embedder(16)) == {
        "a": {"fine": (8, 8), "coarse": (4, 4)},
        "b": {"fine": None, "coarse": (4, 4)},
        "c": {"fine": (8, 8), "coarse": None},
    }


class Table:
    needs_ids, image_size = True, None

    def __call__(self, images, ids):
        return tf.cast(ids[:, None], tf.float32)


@pytest.fixture
def images(tmp_path):
    """Five images, one grey value each, of which three are labelled."""
    paths = np.array([f"{row}.png" for row in range(5)])
    for row, path in enumerate(paths):
        Image.new("RGB", (8, 8), (row, row, row)).save(tmp_path / path)
    return ImageSet(tmp_path, paths, np.array([0, -1, 1, 1, -1]), ("a", "b"))


def embeddings(teacher, images, cache=None, name="", console=None):
    console = console or Console(file=io.StringIO())
    return TeacherEmbeddings(teacher, images, 32, cache=cache, name=name, console=console)


def test_pca_is_fitted_on_labelled_images(images):
    vectors = embeddings(Table(), images).labelled()
    np.testing.assert_array_equal(vectors, np.float32(images.ids[[0, 2, 3], None]))


def test_anchors_are_the_mean_of_the_cached_views_and_projected(images):
    plain = embeddings(Table(), images).anchors(8)
    np.testing.assert_array_equal(plain, np.float32(images.ids[:, None]))

    class Cache:
        views = 2

        def lookup(self, rows, views):
            vectors = np.stack([rows + 1, rows**2, 3 - rows + 5 * views], axis=1)
            return tf.constant(vectors, tf.float32)

    def unit(vectors):
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    rows = np.arange(5)
    own = embeddings(SimpleNamespace(needs_ids=False, image_size=None), images, Cache())
    first, second = (unit(Cache().lookup(rows, view).numpy()) for view in (0, 1))
    for views, expected in ((1, first), (2, (first + second) / 2), (60, (first + second) / 2)):
        np.testing.assert_allclose(own.anchors(views), expected, rtol=1e-6)
    pca = fit_pca(first, 2)
    expected = unit(pca(Cache().lookup(rows, 0)).numpy())
    np.testing.assert_allclose(own.anchors(1, pca), expected, rtol=1e-5)


class Mean(SimpleNamespace):
    """A teacher that notes down the grey values it is evaluated on."""

    needs_ids, image_size = False, 8

    def __call__(self, pixels, ids):
        self.seen += pixels[:, 0, 0, 0].numpy().tolist()
        return tf.reduce_mean(tf.cast(pixels, tf.float32), [1, 2]) * tf.constant([1.0, 2.0, -1.0])


def test_a_teacher_without_a_cache_is_evaluated_once_on_each_image(images):
    teacher, said = Mean(seen=[]), io.StringIO()
    own = embeddings(teacher, images, name="large", console=Console(file=said))
    expected = np.arange(5)[:, None] * np.float32([[1, 2, -1]])
    np.testing.assert_array_equal(own.labelled(), expected[[0, 2, 3]])
    np.testing.assert_array_equal(own.anchors(8), expected)
    np.testing.assert_array_equal(own.labelled(), expected[[0, 2, 3]])
    assert teacher.seen == [0, 2, 3, 1, 4]
    lines = [line for line in said.getvalue().splitlines() if "to embed" in line]
    assert lines == ["teacher large: 3 images to embed", "teacher large: 2 images to embed"]


def test_a_teacher_without_a_cache_shows_how_many_images_it_has_embedded(tmp_path, monkeypatch):
    paths = np.array([f"{row}.png" for row in range(70)])  # more than a batch of 64
    for row, path in enumerate(paths):
        Image.new("RGB", (8, 8), (row, row, row)).save(tmp_path / path)
    images = ImageSet(tmp_path, paths, np.zeros(70, int), ("a",))
    advanced, totals = [], []

    @contextlib.contextmanager
    def progress(title, total, unit, console):
        totals.append((title, total, unit))
        yield advanced.append

    monkeypatch.setattr(teacher_embeddings, "work_progress", progress)
    vectors = embeddings(Mean(seen=[]), images).labelled()
    np.testing.assert_array_equal(vectors[:, 0], np.float32(np.arange(70)))
    assert (totals, advanced) == ([("teacher", 70, "images")], [64, 6])


@pytest.mark.parametrize(
    ("flags", "views"),
    [
        ({}, [8, 8, 8, 30]),
        ({"teacher_cache": "views:3"}, [3, 3, 8, 30]),
        ({"teacher_cache": "clean"}, [1, 2, 8, 30]),
        ({"teacher_cache": "off"}, [1, 2, 8, 30]),
        ({"mixed": 1.0}, [1, 1, 1, 1]),
        ({"anchors": "queue:9"}, [1, 2, 8, 30]),
    ],
)
def test_views_of_the_anchors_do_not_depend_on_the_epochs(flags, views):
    """Whose number is at most that of the cache."""
    weights = {"": {"anchor_kl": 1.0}}
    shown = [
        _plain_views(DistillSettings(epochs=epochs, **flags), weights, {"": "none"})
        for epochs in (1, 2, 8, 30)
    ]
    assert shown == views
