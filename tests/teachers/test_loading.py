import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.teachers.inner_layer import end_at_layer
from keras_distill.teachers.loading import latest_version, load_teacher
from keras_distill.teachers.vector_table import VectorTable


@pytest.fixture(scope="module")
def model(small_embedder):
    return small_embedder()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers")
    model.save(folder / "teacher.keras")
    (folder / "run").mkdir()
    model.save(folder / "run" / "student.keras")
    model.export(folder / "exported", verbose=False)
    image = keras.Input((None, None, 3))
    keras.Model(image, keras.layers.GlobalAveragePooling2D()(image)).save(folder / "free.keras")
    np.savez(folder / "table.npz", ids=["a.jpg", "b.jpg"], vectors=np.eye(2))
    return folder


def test_latest_version_is_taken_as_a_server_takes_it(folder, model, images, tmp_path):
    for name in ("2", "10"):
        shutil.copytree(folder / "exported", tmp_path / name)
    (tmp_path / "11").mkdir()  # not complete yet
    (tmp_path / "2" / "saved_model.pb").write_bytes(b"older")
    assert latest_version(tmp_path) == tmp_path / "10"
    assert latest_version(folder) == folder
    np.testing.assert_allclose(load_teacher(tmp_path)(images), model(images), atol=1e-5)


@pytest.mark.parametrize("path", ["teacher.keras", "run"])
def test_keras_models(path, folder, model, images):
    teacher = load_teacher(folder / path)
    assert (teacher.embedding_dim, teacher.image_size) == (4, 32)
    expected = model(images, training=False)
    for pixels in (images, np.float32(images)):
        answer = teacher(pixels)
        assert answer.dtype == "float32"
        np.testing.assert_allclose(answer, expected, atol=1e-5)
    compiled = tf.function(load_teacher(str(folder / path)))
    np.testing.assert_allclose(compiled(images[:2]), expected[:2], atol=1e-5)


def test_no_gradient(folder, images):
    pixels = tf.constant(np.float32(images))
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        answer = load_teacher(folder / "teacher.keras")(pixels)
    assert tape.gradient(answer, pixels) is None


def test_inner_layer(folder, model, images):
    layer = model.layers[2].name  # the convolution
    teacher = load_teacher(folder / "teacher.keras", output=layer)
    assert (teacher.embedding_dim, teacher.image_size) == (8, 32)
    np.testing.assert_allclose(teacher(images), end_at_layer(model, layer)(images), atol=1e-6)
    prints = {
        load_teacher(folder / "teacher.keras", output=output).fingerprint
        for output in ("", layer, model.layers[3].name, model.layers[4].name)
    }
    assert len(prints) == 4
    with pytest.raises(InputError, match=r"^`output='conv'` is not a layer of `path`"):
        load_teacher(folder / "run", output="conv")


def test_size_and_preprocessing(folder, images):
    teacher = load_teacher(folder / "free.keras", image_size=16, preprocessing="0_1")
    assert (teacher.embedding_dim, teacher.image_size) == (3, 16)
    np.testing.assert_allclose(teacher(images), images.mean((1, 2)) / 255, rtol=1e-5)
    assert load_teacher(folder / "free.keras").image_size is None
    assert load_teacher(folder / "teacher.keras", image_size=32).image_size == 32
    with pytest.raises(InputError, match=r"^`image_size=16`: `path` takes .* 32 x 32"):
        load_teacher(folder / "teacher.keras", image_size=16)


def test_table(folder):
    table = load_teacher(folder / "table.npz")
    assert isinstance(table, VectorTable)
    assert (table.embedding_dim, table.image_size, table.needs_ids) == (2, None, True)


@pytest.mark.parametrize(
    "option", [{"output": "x"}, {"image_size": 8}, {"preprocessing": "0_1"}, {"signature": "x"}]
)
def test_options_that_mean_nothing_to_a_table(option, folder):
    with pytest.raises(InputError, match=r"`path='.*table\.npz'` is (a table of vec|no SavedM)"):
        load_teacher(folder / "table.npz", **option)


def test_signature_of_what_has_none(folder):
    with pytest.raises(InputError, match=r"^`signature='serve'`: `path=.* is no SavedModel; leave"):
        load_teacher(folder / "teacher.keras", signature="serve")


def test_paths_that_hold_no_teacher(folder, tmp_path):
    kinds = r"\.keras file, a run directory, a SavedModel folder, or "
    with pytest.raises(InputError, match=rf"^`path='.*nowhere'` does not exist; give a {kinds}"):
        load_teacher(tmp_path / "nowhere")
    for path in (tmp_path, folder / "exported" / "saved_model.pb"):
        with pytest.raises(InputError, match=rf"^`path='.*'` is not a {kinds}"):
            load_teacher(path)


def test_a_run_of_a_classifier_has_an_embedder_of_its_own(folder, model, images, tmp_path):
    (tmp_path / "model.keras").touch()
    shutil.copy(folder / "teacher.keras", tmp_path / "embedder.keras")
    with pytest.raises(InputError, match=r"a classifier; its embedder is '.*/embedder\.keras'\."):
        load_teacher(tmp_path)
    teacher = load_teacher(tmp_path / "embedder.keras")
    np.testing.assert_allclose(teacher(images), model(images, training=False), atol=1e-5)
