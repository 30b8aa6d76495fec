import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.serving.bundle import export_embedder
from keras_distill.teachers.loading import load_teacher


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
    export_embedder(model, folder, name="bundle", version=1)
    model.export(folder / "plain", verbose=False)
    return folder


@pytest.mark.parametrize("path", ["teacher.keras", "run", "bundle/1", "plain"])
def test_agrees_with_the_model(path, folder, model, images):
    teacher = load_teacher(folder / path)
    assert (teacher.embedding_dim, teacher.image_size) == (4, 32)
    expected = model(images, training=False)
    for pixels in (images, np.float32(images)):
        answer = teacher(pixels)
        assert answer.dtype == "float32"
        np.testing.assert_allclose(answer, expected, atol=1e-5)
    compiled = tf.function(load_teacher(str(folder / path)))
    np.testing.assert_allclose(compiled(images[:2]), expected[:2], atol=1e-5)


@pytest.mark.parametrize("path", ["teacher.keras", "bundle/1"])
def test_no_gradient(path, folder, images):
    pixels = tf.constant(np.float32(images))
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        answer = load_teacher(folder / path)(pixels)
    assert tape.gradient(answer, pixels) is None


def save_functions(path, **functions):
    module = tf.Module()
    signatures = {
        name: tf.function(function, input_signature=specs)
        for name, (function, *specs) in functions.items()
    }
    tf.saved_model.save(module, str(path), signatures=signatures)
    return path


def pooled(image):
    return {"embedding": tf.reduce_mean(tf.cast(image, "float32"), axis=[1, 2])}


def test_uint8_signature_rounds(tmp_path):
    spec = tf.TensorSpec([None, 4, 4, 3], "uint8")
    teacher = load_teacher(save_functions(tmp_path, serving_default=(pooled, spec)))
    assert (teacher.embedding_dim, teacher.image_size) == (3, 4)
    np.testing.assert_array_equal(teacher(np.full((2, 4, 4, 3), 6.7, "float32")), 7)
    np.testing.assert_array_equal(teacher(np.full((2, 4, 4, 3), 200, "uint8")), 200)


def test_first_signature_that_fits(tmp_path):
    path = save_functions(
        tmp_path,
        serve_float=(lambda vector: {"x": vector}, tf.TensorSpec([None, 3])),
        serve_uint8=(
            lambda image: pooled(image) | {"other": image},
            tf.TensorSpec([None, 4, 4, 3], "uint8"),
        ),
        serving_default=(pooled, tf.TensorSpec([None, None, None, 3])),
        serve=(lambda image: {"x": image}, tf.TensorSpec([None, 4, 4, 3])),
    )
    teacher = load_teacher(path)
    assert (teacher.embedding_dim, teacher.image_size) == (3, None)
    np.testing.assert_allclose(teacher(np.full((2, 5, 5, 3), 6.5, "float32")), 6.5)


def test_no_signature_that_fits(tmp_path):
    path = save_functions(
        tmp_path / "odd",
        serving_default=(lambda vector: {"x": vector}, tf.TensorSpec([None, 3])),
        embed=(pooled, tf.TensorSpec([None, 4, 4, 3])),
    )
    with pytest.raises(InputError, match=r"(?s)^--teacher='.*odd' has no .*serving_default, embed"):
        load_teacher(path, argument="--teacher")
    with pytest.raises(InputError, match="it has none, of which serve_float, serve_uint8"):
        load_teacher(save_functions(tmp_path / "none"))


@pytest.mark.parametrize("damage", ["garbage", "truncated", "missing"])
@pytest.mark.parametrize(
    "file",
    ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"],
)
def test_damaged_saved_model(file, damage, folder, tmp_path):
    path = shutil.copytree(folder / "plain", tmp_path / "plain")
    content = (path / file).read_bytes()
    if damage == "missing":
        (path / file).unlink()
    else:
        (path / file).write_bytes(b"garbage" if damage == "garbage" else content[:-200])
    with pytest.raises(InputError, match=r"teacher='.*plain' (could not be loaded: .|is not a )"):
        load_teacher(path)


def test_paths_that_hold_no_teacher(folder, tmp_path):
    with pytest.raises(InputError, match=r"--teacher='.*nowhere' does not exist"):
        load_teacher(tmp_path / "nowhere", argument="--teacher")
    with pytest.raises(InputError, match=r"is not a \.keras file"):
        load_teacher(tmp_path)
    with pytest.raises(InputError, match=r"is not a \.keras file"):
        load_teacher(folder / "plain" / "saved_model.pb")
