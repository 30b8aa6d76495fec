import json

import numpy as np
import pytest
import tensorflow as tf

from keras_distill import InputError, mirror_averaged
from keras_distill.models.exported_facts import FACTS_FILE
from keras_distill.teachers.embedder_fingerprint import embedder_fingerprint
from keras_distill.teachers.loading import load_teacher
from keras_distill.teachers.mirror_averaged_teacher import mirror_averaged_teacher
from keras_distill.teachers.teacher import Teacher, as_teacher
from keras_distill.teachers.vector_table import VectorTable


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def saved(small_embedder, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    small_embedder(6).save(path)
    return path


def left(images):
    """Means of the left half by channel, which the mirror image changes."""
    return tf.reduce_mean(tf.cast(images, tf.float32)[:, :, :16], [1, 2]) - 0.4


def naive(function, images):
    total = function(images) + function(images[:, :, ::-1])
    return total / np.linalg.norm(total, axis=1, keepdims=True)


def test_keras_model_is_the_averaged_model(saved, images):
    plain, averaged = load_teacher(saved), load_teacher(saved, mirror=True)
    np.testing.assert_allclose(averaged(images), naive(plain, images), atol=1e-5)
    assert (averaged.embedding_dim, averaged.image_size) == (6, 32)
    assert (plain.mirror_averaged, averaged.mirror_averaged) == (False, True)
    model = as_teacher(mirror_averaged(plain.owner))
    assert averaged.fingerprint == model.fingerprint != plain.fingerprint
    assert model.mirror_averaged
    assert embedder_fingerprint(averaged, 32) != embedder_fingerprint(plain, 32)


def test_function_with_preprocessing(images):
    runs = []

    def runtime(threads):
        runs.append(threads)
        return lambda pixels: left(pixels).numpy()

    teacher = Teacher(
        left,
        preprocessing="0_1",
        embedding_dim=3,
        image_size=32,
        fingerprint="left",
        runtime=runtime,
        versions={"left": "1"},
    )
    averaged = mirror_averaged_teacher(teacher)
    expected = naive(lambda x: left(x / np.float32(255)).numpy(), images)
    np.testing.assert_allclose(averaged(images), expected, atol=1e-6)
    np.testing.assert_allclose(averaged.runtime(3)(images / np.float32(255)), expected, atol=1e-6)
    assert runs == [3]
    assert averaged.fingerprint != teacher.fingerprint
    assert (averaged.embedding_dim, averaged.image_size) == (3, 32)
    assert (averaged.preprocessing, averaged.versions) == ("0_1", {"left": "1"})


def test_plain_function_stays_unknown_and_opposite_vectors_give_zero():
    averaged = mirror_averaged_teacher(Teacher(lambda x: x[:, 0, :2, 0] - x[:, 0, 1::-1, 0]))
    assert averaged.fingerprint is averaged.runtime is None
    np.testing.assert_array_equal(averaged(tf.constant([[[[1.0], [5.0]]]])), [[0, 0]])


def test_table_and_averaged_model_are_refused(saved):
    with pytest.raises(InputError, match="is a table of vectors, which reads no pixels"):
        mirror_averaged_teacher(VectorTable(["a.jpg"], [[1.0, 0.0]]))
    averaged = load_teacher(saved, mirror=True)
    with pytest.raises(InputError, match="`mirror=True`: `model` averages mirror images already"):
        mirror_averaged_teacher(averaged)
    averaged.owner.save(saved.with_name("averaged.keras"))
    with pytest.raises(InputError, match=r"`path=.*averaged.keras'` averages mirror images alr"):
        load_teacher(saved.with_name("averaged.keras"), mirror=True)


def test_saved_model_is_averaged_unless_it_says_that_it_is(images, tmp_path):
    module = tf.Module()
    serve = tf.function(left).get_concrete_function(tf.TensorSpec([None, 32, 32, 3], tf.float32))
    tf.saved_model.save(module, str(tmp_path), signatures={"serve_float": serve})
    averaged = load_teacher(tmp_path, mirror=True)
    np.testing.assert_allclose(
        averaged(images), naive(lambda x: left(x).numpy(), images), atol=1e-6
    )
    assert averaged.fingerprint != load_teacher(tmp_path).fingerprint
    (tmp_path / FACTS_FILE).parent.mkdir()
    (tmp_path / FACTS_FILE).write_text(json.dumps({"mirror": True}))
    assert load_teacher(tmp_path).mirror_averaged
    with pytest.raises(InputError, match="averages mirror images already; leave it out"):
        load_teacher(tmp_path, mirror=True)
