import sys
import warnings
from importlib.metadata import version

import keras
import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.teachers.loading import load_teacher


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)


def embedder(size=16, *, batch=None, dims=(5,), channels=3):
    keras.utils.set_random_seed(0)
    image = keras.Input(batch_shape=(batch, size, size, channels), name="image")
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="tanh")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, {f"width_{dim}": keras.layers.Dense(dim)(x) for dim in dims})


def convert(model, path):
    (image,) = model.inputs
    spec = keras.InputSpec(shape=image.shape, dtype="float32", name="image")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*np.object", FutureWarning)
        model.export(str(path), format="onnx", verbose=False, input_signature=[spec])
    return path


@pytest.fixture(scope="module")
def model():
    return embedder()


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    return convert(model, tmp_path_factory.mktemp("onnx") / "teacher.onnx")


def test_agrees_with_the_model(file, model, images):
    teacher = load_teacher(file)
    assert (teacher.embedding_dim, teacher.image_size, teacher.needs_ids) == (5, 16, False)
    for pixels in (images, np.float32(images), images[:2], images[:1]):
        answer = teacher(pixels)
        assert answer.dtype == "float32"
        expected = model(pixels, training=False)["width_5"]
        np.testing.assert_allclose(answer, expected, atol=1e-5)
    assert teacher(images[:0]).shape == (0, 5)
    np.testing.assert_allclose(teacher.runtime(1)(np.float32(images)), teacher(images), atol=1e-6)


def test_fixed_batch_and_any_size(model, images, tmp_path):
    fixed = load_teacher(convert(embedder(batch=4), tmp_path / "fixed.onnx"))
    for rows in (6, 1, 4):
        expected = model(images[:rows], training=False)["width_5"]
        np.testing.assert_allclose(fixed(images[:rows]), expected, atol=1e-5)
    free = load_teacher(convert(embedder(size=None), tmp_path / "free.onnx"))
    assert free.image_size is None
    np.testing.assert_allclose(free(images), model(images)["width_5"], atol=1e-5)


def test_several_outputs(images, tmp_path):
    model = embedder(dims=(5, 7))
    path = convert(model, tmp_path / "two.onnx")
    with pytest.raises(
        InputError, match=r"`output=''` is not one of .*; these are width_5 \(5 values\), width_7"
    ):
        load_teacher(path)
    teachers = [load_teacher(path, output=name) for name in ("width_5", "width_7")]
    np.testing.assert_allclose(teachers[1](images), model(images)["width_7"], atol=1e-5)
    assert teachers[0].fingerprint != teachers[1].fingerprint


def test_the_version_of_the_runtime_is_known(file):
    assert load_teacher(file).versions == {"onnxruntime": version("onnxruntime")}


def test_preprocessing_and_fingerprint(file, model, images, tmp_path):
    teacher = load_teacher(file, preprocessing="imagenet_caffe")
    caffe = keras.applications.imagenet_utils.preprocess_input(np.float32(images), mode="caffe")
    np.testing.assert_allclose(teacher(images), model(caffe)["width_5"], atol=1e-5)
    (tmp_path / "copy.onnx").write_bytes(file.read_bytes())
    same = load_teacher(tmp_path / "copy.onnx").fingerprint
    assert same == load_teacher(file).fingerprint != teacher.fingerprint


def test_of_no_use(file, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"^`image_size=32`: `path='.*'` takes images of 16 x 16"):
        load_teacher(file, image_size=32)
    grey = convert(embedder(channels=1), tmp_path / "grey.onnx")
    with pytest.raises(
        InputError, match=r"grey.onnx'` takes image tensor\(float\) .*channels last"
    ):
        load_teacher(grey)
    for name, content in (("empty", b""), ("garbage", b"garbage"), ("cut", file.read_bytes()[:99])):
        (tmp_path / f"{name}.onnx").write_bytes(content)
        with pytest.raises(InputError, match=rf"^`path='.*{name}.onnx'` could not be loaded: "):
            load_teacher(tmp_path / f"{name}.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        InputError, match=r"needs the package .*pip install 'keras_distill\[onnx\]'"
    ):
        load_teacher(file)
