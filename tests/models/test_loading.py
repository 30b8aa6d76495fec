import io
import warnings
import zipfile

import keras
import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.models.loading import embedder_shape, load_model


@pytest.fixture(scope="module")
def model(small_embedder):
    return small_embedder(image_size=8)


@pytest.fixture(scope="module")
def content(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model.save(path)
    return path.read_bytes()


def test_file_and_run_directory(model, content, tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("model.keras", "run/student.keras"):
        (tmp_path / name).write_bytes(content)
    for path in (tmp_path / "model.keras", str(tmp_path / "model.keras"), tmp_path / "run"):
        loaded = load_model(path)
        assert not loaded.compiled
        for weight, saved in zip(loaded.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, saved)


def test_paths_that_hold_no_model(tmp_path):
    (tmp_path / "model.h5").write_bytes(b"")
    with pytest.raises(InputError, match=r"^`path='.*nowhere\.keras'` does not exist\.$"):
        load_model(tmp_path / "nowhere.keras")
    with pytest.raises(InputError, match=r"^`path='.*model\.h5'` is not a \.keras file\.$"):
        load_model(tmp_path / "model.h5")
    with pytest.raises(InputError, match=r"is not a \.keras file"):
        load_model(tmp_path)


def repacked(content, *, without=(), **replaced):
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as source,
        zipfile.ZipFile(packed, "w") as target,
    ):
        for name in source.namelist():
            if name not in without:
                target.writestr(name, replaced.get(name.partition(".")[0], source.read(name)))
    return packed.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"no model",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-10],
        lambda content: repacked(content, without=["config.json"]),
        lambda content: repacked(content, without=["model.weights.h5"]),
        lambda content: repacked(content, config=b"{"),
        lambda content: repacked(content, config=b"{}"),
        lambda content: repacked(content, model=b"no weights"),
    ],
    ids=[
        "empty",
        "text",
        "half",
        "no end",
        "no config",
        "no weights",
        "broken config",
        "empty config",
        "broken weights",
    ],
)
def test_broken_files(damage, content, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(damage(content))
    with pytest.raises(InputError, match=r"`path='.*'` could not be loaded as a Keras model: "):
        load_model(path)


def test_weights_of_other_shapes(small_embedder, content, tmp_path):
    path = tmp_path / "wide.keras"
    small_embedder(dim=7, image_size=8).save(path)
    with zipfile.ZipFile(path) as wide:
        weights = wide.read("model.weights.h5")
    path.write_bytes(repacked(content, model=weights))
    with pytest.raises(InputError, match="could not be loaded as a Keras model"):
        load_model(path)


def test_unknown_layer(content, tmp_path):
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        config = source.read("config.json").replace(b'"Conv2D"', b'"Conv9D"')
    path = tmp_path / "model.keras"
    path.write_bytes(repacked(content, config=config))
    with pytest.raises(InputError, match="Conv9D"):
        load_model(path)


def test_flipped_bytes_never_escape_as_another_error(content, tmp_path):
    path = tmp_path / "model.keras"
    refused = 0
    directory = content.rindex(b"PK\x01\x02") - 200
    for position in np.random.default_rng(0).integers(directory, len(content), 60):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                load_model(path)
            except InputError:
                refused += 1
    assert refused > 20


def test_shape_of_an_embedder(model, small_embedder):
    assert embedder_shape(model) == (8, 4)
    image = keras.Input((None, None, 3))
    pooled = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    assert embedder_shape(pooled) == (None, 3)
    assert embedder_shape(keras.Model([image], [pooled(image)])) == (None, 3)
    assert embedder_shape(keras.Sequential([keras.Input((8, 8, 3)), model])) == (8, 4)
    assert embedder_shape(keras.Model(image, {"embedding": pooled(image)})) == (None, 3)


class Subclassed(keras.Model):
    def call(self, x):
        return keras.ops.mean(x, axis=(1, 2))


def models_of_another_kind():
    image, grey, wide = keras.Input((8, 8, 3)), keras.Input((8, 8, 1)), keras.Input((8, 9, 3))
    pool = keras.layers.GlobalAveragePooling2D()
    yield "takes .*8, 8, 1", keras.Model(grey, pool(grey))
    yield "takes .*8, 9, 3", keras.Model(wide, pool(wide))
    yield "takes .*8, 8, 3.*8, 8, 1", keras.Model([image, grey], pool(image) + pool(grey))
    yield "takes an unknown shape", Subclassed()
    yield "takes an unknown shape", keras.Sequential([pool])
    yield "returns .*8, 8, 3", keras.Model(image, keras.layers.ReLU()(image))
    yield "returns .*None, 3.*None, 3", keras.Model(image, [pool(image), 2 * pool(image)])
    yield "returns .*'b'", keras.Model(image, {"b": pool(image)})


@pytest.mark.parametrize("number", range(8))
def test_shape_of_another_kind_of_model(number):
    message, model = list(models_of_another_kind())[number]
    with pytest.raises(InputError, match=f"^`model` '{model.name}' {message}"):
        embedder_shape(model)
