import shutil

import keras
import numpy as np
import pytest

from keras_distill.teachers.loading import load_teacher
from keras_distill.teachers.model_fingerprint import (
    fingerprint_of,
    folder_fingerprint,
    model_fingerprint,
)
from keras_distill.teachers.teacher import Teacher, as_teacher


def test_parts_and_their_borders_count():
    different = [
        [],
        [""],
        ["", ""],
        ["ab"],
        ["a", "b"],
        [b"ab"],
        [["a", "b"]],
        [None],
        [1],
        ["1"],
        [np.zeros(4, "int8")],
        [np.zeros(4, "uint8")],
        [np.zeros((2, 2), "uint8")],
        [np.zeros(1, "float32")],
    ]
    assert len({fingerprint_of(*parts) for parts in different}) == len(different)
    turned = np.arange(6).reshape(2, 3).T
    assert fingerprint_of(turned) == fingerprint_of(turned.copy())


def convolution(activation="relu", strides=1, size=None, names=False, dtype="float32", **options):
    image = keras.Input((size, size, 3), name="pixels" if names else None)
    layer = keras.layers.Conv2D(
        2, 3, strides=strides, activation=activation, dtype=dtype, name="first" if names else None
    )
    x = keras.layers.Dropout(0.5)(layer(image))
    inner = keras.Input(x.shape[1:])
    pooled = keras.layers.GlobalAveragePooling2D(dtype=dtype)(keras.ops.abs(inner))
    x = keras.Model(inner, pooled, name="inner" if names else None)(x)
    model = keras.Model(image, keras.layers.Activation(activation)(x), **options)
    model.set_weights([np.ones_like(weight) for weight in model.get_weights()])
    return model


def test_names_do_not_count():
    fingerprint = model_fingerprint(convolution())
    assert model_fingerprint(convolution()) == fingerprint
    assert model_fingerprint(convolution(names=True, name="other", trainable=False)) == fingerprint
    model = convolution()
    model.compile("adam", "mse")
    model(np.zeros((1, 8, 8, 3)), training=True)
    assert model_fingerprint(model) == fingerprint


def test_whatever_decides_the_answer_counts():
    models = [
        convolution(),
        convolution("tanh"),
        convolution(strides=2),
        convolution(size=8),
        convolution(dtype="mixed_bfloat16"),
        convolution(dtype="bfloat16"),
    ]
    models.append(keras.Model(models[0].input, models[0].layers[1].output))
    assert len({model_fingerprint(model) for model in models}) == len(models)


def test_order_of_the_layers_counts():
    def chain(first, second, third):
        image = keras.Input((8, 8, 3))
        x, y = first(image), second(image)
        return keras.Model(image, third(keras.layers.Subtract()([x, y])))

    relu, tanh = keras.layers.ReLU, keras.layers.Activation
    pooling = keras.layers.GlobalAveragePooling2D
    fingerprints = {
        model_fingerprint(chain(relu(), tanh("tanh"), pooling())),
        model_fingerprint(chain(tanh("tanh"), relu(), pooling())),
        model_fingerprint(chain(tanh("tanh"), relu(), keras.layers.GlobalMaxPooling2D())),
    }
    assert len(fingerprints) == 3


def test_a_single_weight_counts_and_the_present_ones():
    model = convolution()
    teacher = as_teacher(model)
    before = teacher.fingerprint
    kernel, bias = model.get_weights()
    kernel[0, 0, 0, 0] = np.nextafter(kernel[0, 0, 0, 0], np.float32(2))
    model.set_weights([kernel, bias])
    changed = teacher.fingerprint
    model.set_weights([np.ones_like(kernel), bias[::-1]])
    assert teacher.fingerprint == before != changed


def test_every_weight_counts():
    model = keras.Sequential([convolution(), keras.layers.BatchNormalization()])
    seen = {model_fingerprint(model)}
    for weight in model.weights:  # statistics among them, which are not trained
        weight.assign(weight + 1)
        seen.add(model_fingerprint(model))
    assert len(seen) == len(model.weights) + 1 == 7


class Silent(keras.layers.Layer):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


def test_unknowable():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, Silent(lambda x: x[:, 0, 0])(image))
    assert as_teacher(model).fingerprint is None
    assert as_teacher(lambda images: images).fingerprint is None


def test_of_a_teacher():
    teachers = [
        Teacher(abs, fingerprint="abs"),
        Teacher(abs, fingerprint="other"),
        Teacher(abs, fingerprint="abs", image_size=8),
        Teacher(abs, fingerprint="abs", preprocessing="0_1"),
        Teacher(abs, fingerprint="abs", preprocessing="-1_1"),
    ]
    assert len({teacher.fingerprint for teacher in teachers}) == len(teachers)
    assert Teacher(abs, fingerprint=lambda: "abs").fingerprint == teachers[0].fingerprint


@pytest.fixture(scope="module")
def saved(tmp_path_factory, small_embedder):
    folder = tmp_path_factory.mktemp("saved")
    model = small_embedder()
    model.save(folder / "teacher.keras")
    model.export(folder / "exported", verbose=False)
    np.savez(folder / "table.npz", ids=["b.jpg", "a.jpg"], vectors=np.eye(2))
    np.savez(folder / "turned.npz", ids=["a.jpg", "b.jpg"], vectors=np.eye(2)[::-1])
    np.savez(folder / "other.npz", ids=["a.jpg", "b.jpg"], vectors=np.eye(2))
    return folder


def test_is_the_same_in_every_process(saved, small_embedder, run_warm_python):
    code = """
import sys
import keras
import keras_distill
keras.layers.ReLU(), keras.Input((2,))  # so that the numbers in names differ
for path in sys.argv[1:]:
    print(keras_distill.load_teacher(path).fingerprint)
"""
    paths = [saved / "teacher.keras", saved / "exported", saved / "table.npz"]
    here = [load_teacher(path).fingerprint for path in paths]
    assert run_warm_python(code, *paths).split() == here
    assert as_teacher(small_embedder()).fingerprint == here[0]
    assert len(set(here)) == 3


def test_of_tables(saved):
    table, turned, other = (
        load_teacher(saved / f"{name}.npz").fingerprint for name in ("table", "turned", "other")
    )
    assert table == turned != other


def test_of_folders(saved, tmp_path):
    folder = shutil.copytree(saved / "exported", tmp_path / "copy")
    before = folder_fingerprint(folder)
    assert before == folder_fingerprint(saved / "exported")
    (folder / "notes.txt").write_text("no matter")
    assert folder_fingerprint(folder) == before
    (folder / "assets").mkdir(exist_ok=True)
    seen = {before}
    for name in ("assets/words.txt", "variables/variables.index", "saved_model.pb"):
        content = (folder / name).read_bytes() if (folder / name).exists() else b""
        (folder / name).write_bytes(content + b"\0")
        seen.add(folder_fingerprint(folder))
    (folder / "assets/words.txt").rename(folder / "assets/names.txt")
    seen.add(folder_fingerprint(folder))
    assert len(seen) == 5
