import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.serving.export.bundle import export_embedder
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
    export_embedder(model, folder, name="bundle", version=1)
    model.export(folder / "plain", verbose=False)
    return folder


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


def doubled(image):
    return {"embedding": 2 * pooled(image)["embedding"]}


def pooled_twice(image):
    return pooled(image) | {"doubled": doubled(image)["embedding"]}


@pytest.mark.quick(2)
@pytest.mark.parametrize("path", ["bundle/1", "plain"])
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


def test_no_gradient(folder, images):
    pixels = tf.constant(np.float32(images))
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        answer = load_teacher(folder / "bundle/1")(pixels)
    assert tape.gradient(answer, pixels) is None


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
        serve_uint8=(pooled_twice, tf.TensorSpec([None, 4, 4, 3], "uint8")),
        serving_default=(pooled, tf.TensorSpec([None, None, None, 3])),
        serve=(lambda image: {"x": image}, tf.TensorSpec([None, 4, 4, 3])),
    )
    teacher = load_teacher(path)
    assert (teacher.embedding_dim, teacher.image_size) == (3, None)
    np.testing.assert_allclose(teacher(np.full((2, 5, 5, 3), 6.5, "float32")), 6.5)


def test_other_outputs_are_passed_over(tmp_path):
    def embed(image):
        return pooled(image) | {"map": image, "count": tf.zeros([1, 1], "int32")}

    path = save_functions(tmp_path, serve=(embed, tf.TensorSpec([None, 4, 4, 3])))
    np.testing.assert_allclose(load_teacher(path)(np.full((2, 4, 4, 3), 9.0, "float32")), 9)


@pytest.fixture(scope="module")
def choice(tmp_path_factory):
    fixed, free = tf.TensorSpec([None, 4, 4, 3]), tf.TensorSpec([None, None, None, 3])
    return save_functions(
        tmp_path_factory.mktemp("saved") / "choice",
        serving_default=(pooled, fixed),
        other=(doubled, free),
        serve=(pooled_twice, free),
        bytes=(pooled, tf.TensorSpec([None, 4, 4, 3], "uint8")),
    )


@pytest.mark.parametrize(
    ("options", "value", "size"),
    [
        ({}, 3, 4),
        ({"signature": "other"}, 6, None),
        ({"signature": "other", "image_size": 8}, 6, 8),
        ({"output": "doubled"}, 6, None),
        ({"signature": "serve", "output": "embedding"}, 3, None),
        ({"signature": "serve", "output": "doubled", "preprocessing": "0_1"}, 6 / 255, None),
        ({"preprocessing": "imagenet_caffe"}, 3 - np.array([103.939, 116.779, 123.68]), 4),
        ({"signature": "bytes"}, 3, 4),
    ],
)
def test_choices(options, value, size, choice):
    teacher = load_teacher(choice, **options)
    assert teacher.image_size == size
    answer = teacher(np.full((2, 4, 4, 3), 3, "uint8"))
    np.testing.assert_allclose(answer, np.broadcast_to(value, (2, 3)), rtol=1e-5)


def test_choices_have_different_fingerprints(choice):
    options = [
        {},
        {"signature": "other"},
        {"signature": "other", "image_size": 8},
        {"signature": "serve", "output": "embedding"},
        {"signature": "serve", "output": "doubled"},
        {"preprocessing": "0_1"},
    ]
    teachers = [load_teacher(choice, **option) for option in options]
    assert len({teacher.fingerprint for teacher in teachers}) == len(teachers)
    again = load_teacher(choice, signature="serving_default", output="embedding")
    assert again.fingerprint == teachers[0].fingerprint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"signature": "serv"}, r"has no signature 'serv' from .*it has .*serve: image float32 \("),
        (
            {"output": "embed"},
            r"the vectors `output='embed'`; it has .*embedding float32 \(None, 3\)",
        ),
        (
            {"signature": "serve"},
            r"has no signature 'serve' .*doubled float32.*`signature` and `out",
        ),
        ({"signature": "other", "output": "doubled"}, r"signature 'other' .*`output='doubled'`"),
        ({"image_size": 8}, r"^`image_size=8`: `path='.*choice'` takes images of 4 x 4"),
        (
            {"signature": "bytes", "preprocessing": "-1_1"},
            r"^`preprocessing='-1_1'`: signature 'bytes' of `path=.* takes uint8 pixels",
        ),
    ],
)
def test_wrong_choices(options, message, choice):
    with pytest.raises(InputError, match=rf"(?s){message}"):
        load_teacher(choice, **options)


def test_no_signature_that_fits(tmp_path):
    path = save_functions(
        tmp_path / "odd",
        serving_default=(lambda vector: {"x": vector}, tf.TensorSpec([None, 3])),
        serve=(pooled, tf.TensorSpec([None, 4, 5, 3])),
        embed=(pooled, tf.TensorSpec([None, 4, 4, 3])),
    )
    message = r"^`path='.*odd'` has no .*it has serving_default: .*; embed: .*, serve are consi"
    with pytest.raises(InputError, match=message):
        load_teacher(path)
    with pytest.raises(InputError, match=r"; it has none.*serve_float, serve_uint8"):
        load_teacher(save_functions(tmp_path / "none"))


@pytest.mark.parametrize("damage", ["garbage", "truncated", "missing"])
@pytest.mark.parametrize(
    "file",
    ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"],
)
def test_damaged(file, damage, folder, tmp_path):
    path = shutil.copytree(folder / "plain", tmp_path / "plain")
    content = (path / file).read_bytes()
    if damage == "missing":
        (path / file).unlink()
    else:
        (path / file).write_bytes(b"garbage" if damage == "garbage" else content[:-200])
    with pytest.raises(InputError, match=r"`path='.*plain'` (could not be loaded: .|is not a )"):
        load_teacher(path)
