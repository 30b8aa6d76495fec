import contextlib
import io
from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from rich.console import Console

from keras_distill.data.image_set import ImageSet
from keras_distill.losses.attention_maps import AttentionMaps
from keras_distill.losses.hint import Hint
from keras_distill.losses.relative_teacher import RelativeTeacher
from keras_distill.recipes.teachers import (
    RecipeTeachers,
    _anchors_of,
    _embeddings_of,
    _progress_of,
    feature_layers,
)
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


def unseen(total):
    raise AssertionError(f"progress of {total} images, although none is embedded")


class Table:
    needs_ids = True

    def __call__(self, images, ids):
        return tf.cast(ids[:, None], tf.float32)


def test_pca_is_fitted_on_labelled_images(tmp_path):
    paths = np.array([f"{row}.jpg" for row in range(5)])
    images = ImageSet(tmp_path, paths, np.array([0, -1, 1, 1, -1]), ("a", "b"))
    labelled = np.flatnonzero(images.labels >= 0)
    vectors = _embeddings_of(Table(), None, images, labelled, 32, unseen)
    np.testing.assert_array_equal(vectors, np.float32(images.ids[[0, 2, 3], None]))


def test_anchors_are_the_mean_of_the_cached_views_and_projected(tmp_path):
    paths = np.array([f"{row}.jpg" for row in range(5)])
    images = ImageSet(tmp_path, paths, np.array([0, -1, 1, 1, -1]), ("a", "b"))
    plain = _anchors_of(Table(), None, None, images, 32, 8, unseen)
    np.testing.assert_array_equal(plain, np.float32(images.ids[:, None]))

    class Cache:
        views = 2

        def lookup(self, rows, views):
            vectors = np.stack([rows + 1, rows**2, 3 - rows + 5 * views], axis=1)
            return tf.constant(vectors, tf.float32)

    def unit(vectors):
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    teacher, rows = SimpleNamespace(needs_ids=False), np.arange(5)
    first, second = (unit(Cache().lookup(rows, view).numpy()) for view in (0, 1))
    for views, expected in ((1, first), (2, (first + second) / 2), (60, (first + second) / 2)):
        cached = _anchors_of(teacher, Cache(), None, images, 32, views, unseen)
        np.testing.assert_allclose(cached, expected, rtol=1e-6)
    pca = fit_pca(first, 2)
    projected = _anchors_of(teacher, Cache(), pca, images, 32, 1, unseen)
    np.testing.assert_allclose(projected, unit(pca(Cache().lookup(rows, 0)).numpy()), rtol=1e-5)


def test_a_teacher_without_a_cache_shows_how_many_images_it_has_embedded(tmp_path):
    paths = np.array([f"{row}.png" for row in range(70)])  # more than a batch of 64
    for row, path in enumerate(paths):
        Image.new("RGB", (8, 8), (row, row, row)).save(tmp_path / path)
    images = ImageSet(tmp_path, paths, np.zeros(70, int), ("a",))
    advanced, totals = [], []

    @contextlib.contextmanager
    def progress(total):
        totals.append(total)
        yield advanced.append

    class Mean(SimpleNamespace):
        def __call__(self, pixels, ids):
            return tf.reduce_mean(tf.cast(pixels, tf.float32), [1, 2])

    teacher = Mean(needs_ids=False, image_size=8)
    vectors = _anchors_of(teacher, None, None, images, 32, 8, progress)
    np.testing.assert_array_equal(vectors, np.float32(np.repeat(np.arange(70)[:, None], 3, 1)))
    assert (totals, advanced) == ([70], [64, 6])
    said = io.StringIO()
    with _progress_of("large", Console(file=said))(70) as advance:
        advance(70)
    assert said.getvalue() == "teacher large: 70 images to embed\n"
