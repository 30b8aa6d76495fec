import functools

import keras
import numpy as np
import pytest
from PIL import Image

from keras_distill.data.image_set import read_folder
from keras_distill.data.pipeline import training_batches, view_batches
from keras_distill.data.shard_store import Shard
from keras_distill.errors import InputError
from keras_distill.losses.attention_maps import attention_energy
from keras_distill.teachers.cache import TeacherCache
from keras_distill.teachers.teacher import Teacher, as_teacher

LAYERS = ("trunk/inner/late", "embedding", "early")
SHAPES = {"trunk/inner/late": (4, 4, 5), "embedding": (8, 8, 4), "early": (8, 8, 4)}
ROUNDING = {"rtol": 2**-11, "atol": 1e-6}  # of float16, and of batches of another size


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three classes of four noise images each."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for label in range(3):
        (folder / f"class{label}").mkdir()
        for index in range(4):
            pixels = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
            image = Image.fromarray(pixels).resize((24, 20))
            image.save(folder / f"class{label}" / f"{index}.png")
    return read_folder(folder)


def build_model():
    keras.utils.set_random_seed(0)
    features = keras.Input((8, 8, 4), name="features")
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same", activation="relu", name="late")(
        features
    )
    inner = keras.Model(features, x, name="inner")
    backbone = keras.Sequential([keras.Input((8, 8, 4)), inner], name="trunk")
    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="early")(x)
    x = backbone(keras.layers.ReLU(name="embedding")(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(3)(x), name="teacher")


@pytest.fixture(scope="module")
def teacher():
    return as_teacher(build_model())


@pytest.fixture
def open_cache(teacher, images, tmp_path):
    def open_cache(given_teacher=teacher, layers=LAYERS, **options):
        return TeacherCache(
            given_teacher, images, tmp_path, **{"views": 3} | options, layers=layers
        )

    return open_cache


@functools.cache
def wide():
    """A model that answers with the embedding and the maps."""
    model = build_model()
    early, late = model.get_layer("early").output, model.layers[-2].input
    tensors = [model.output, late, model.get_layer("embedding").output, early]
    return keras.Model(model.input, tensors)


def by_hand(pixels):
    embedding, *maps = wide()(np.float32(pixels))
    return embedding, dict(zip(LAYERS, maps, strict=True))


def check(cache, embeddings, maps, pixels):
    embedding, expected = by_hand(pixels)
    np.testing.assert_allclose(embeddings, embedding, **ROUNDING)
    assert maps.keys() == set(cache.layers)
    for name in cache.layers:
        assert (maps[name].dtype, maps[name].shape[1:]) == ("float32", SHAPES[name])
        np.testing.assert_allclose(maps[name], expected[name], **ROUNDING)


def check_views(cache, *views):
    rows = np.arange(len(cache.images))
    for view in views:
        (pixels, _), *_ = view_batches(cache.images, image_size=16, view=view)
        wanted = rows, np.full_like(rows, view or 0)
        check(cache, cache.lookup(*wanted), cache.lookup_features(*wanted), pixels)


def test_cached_maps_are_those_of_the_pixels_that_the_student_sees(open_cache, images):
    cache = open_cache()
    cache.fill()
    batches = training_batches(
        images,
        image_size=16,
        steps_per_epoch=1,
        classes_per_batch=3,
        images_per_class=4,
        views=3,
        teacher_embedding=cache.lookup,
        teacher_features=cache.lookup_features,
    )
    seen = set()
    for x, _ in batches.take(4):
        check(cache, x["teacher_embedding"], x["teacher_features"], x["image"])
        seen.add(x["image"].numpy().tobytes())
    assert len(seen) > 1


def test_cached_answers_are_the_live_ones(open_cache, teacher, images):
    cache = open_cache(layers=("late", "trunk"))
    cache.fill(1)
    rows = np.arange(12)
    (pixels, _), *_ = view_batches(images, image_size=16, view=0)
    embedding, maps = teacher.features(pixels)
    np.testing.assert_allclose(cache.lookup(rows, 0 * rows), embedding, **ROUNDING)
    found = cache.lookup_features(rows, 0 * rows)
    assert list(found) == ["late", "trunk"]
    for name, value in found.items():
        np.testing.assert_allclose(value, maps[name], **ROUNDING)


def test_another_tap_does_not_disturb_it(images, tmp_path):
    teacher = as_teacher(build_model())
    cache = TeacherCache(teacher, images, tmp_path, views=3, layers=LAYERS)
    teacher.tap(["trunk"])
    cache.fill(1)
    check_views(cache, 0)


def test_a_strength_takes_the_place_of_a_map(open_cache, teacher, images):
    cache = open_cache(layers={"late": None, "early": (3, 5)})
    assert cache.nbytes(1) == 12 * 2 * (3 + 4 * 4 * 5 + 3 * 5 + 3)
    cache.fill(1)
    rows = np.arange(12)
    (pixels, _), *_ = view_batches(images, image_size=16, view=0)
    _, maps = teacher.features(pixels)
    found = cache.lookup_features(rows, 0 * rows)
    np.testing.assert_allclose(found["late"], maps["late"], **ROUNDING)
    np.testing.assert_allclose(found["early"], attention_energy(maps["early"], (3, 5)), **ROUNDING)
    others = [("late", "early"), {"late": None, "early": (3, 4)}, {"late": None, "early": (8, 8)}]
    folders = {open_cache(layers=layers).folder for layers in others}
    assert len({cache.folder, *folders}) == 4
    assert open_cache(layers={"late": None, "early": None}).folder in folders


def test_a_cache_with_maps_is_another_one(open_cache):
    caches = [open_cache(layers=layers) for layers in ((), ("early",), ("early", "late"), LAYERS)]
    assert len({cache.folder for cache in caches}) == 4
    assert open_cache(layers=LAYERS[::-1]).folder == caches[-1].folder
    caches[0].fill(1)
    assert [cache.missing_rows(1) for cache in caches] == [0, 12, 12, 12]
    rows = np.arange(2)
    assert caches[0].lookup_features(rows, rows) == {}


@pytest.mark.slow
def test_it_is_filled_once_and_found_again(open_cache, monkeypatch):
    cache = open_cache()
    cache.fill(2)
    again = open_cache()
    assert (again.missing_rows(2), again.missing_rows()) == (0, 12)
    asked = []
    features = Teacher.features
    monkeypatch.setattr(
        Teacher, "features", lambda self, x: asked.append(len(x)) or features(self, x)
    )
    again.fill()
    assert asked == [12]
    check_views(again, 1, 2)


def test_its_size_is_told_beforehand(open_cache):
    cache = open_cache()
    values = 3 + 4 * 4 * 5 + 2 * (8 * 8 * 4) + 4
    assert cache.nbytes() == 12 * 3 * 2 * values
    assert cache.nbytes(1) == 12 * 2 * values
    cache.fill(1)
    files = list(cache.folder.rglob("*.npy"))
    assert sum(np.load(file).nbytes for file in files) == cache.nbytes(1)
    assert sorted(file.name for file in files) == [
        "embedding-00000000.npy",
        "exponents-00000000.npy",
        "layer.early-00000000.npy",
        "layer.embedding-00000000.npy",
        "layer.trunk.inner.late-00000000.npy",
    ]
    with pytest.raises(InputError, match=rf"12 images x 3 views x {2 * values} bytes"):
        cache.check_space(1e-6)


@pytest.mark.slow
def test_a_lost_map_is_computed_again(open_cache):
    cache = open_cache()
    cache.fill(2)
    next(cache.folder.glob("view0001/layer.early-*")).unlink()
    again = open_cache()
    assert again.missing_rows() == 24
    assert again.store.missing(range(2)) == [Shard(1, range(12))]
    again.fill(2)
    check_views(again, 1)


def test_maps_of_the_centre(open_cache):
    cache = open_cache(views=None)
    cache.fill()
    check_views(cache, None)


@pytest.mark.parametrize("size", [1e-9, 1e6])
def test_a_map_of_any_size_is_kept(open_cache, images, size):
    model = build_model()
    conv = model.get_layer("early")
    conv.set_weights([size * weight for weight in conv.get_weights()])
    teacher = as_teacher(model)
    cache = open_cache(teacher, layers=("early",))
    cache.fill(1)
    (pixels, _), *_ = view_batches(images, image_size=16, view=0)
    _, maps = teacher.features(pixels)
    rows = np.arange(12)
    found = cache.lookup_features(rows, 0 * rows)
    np.testing.assert_allclose(found["early"], maps["early"], rtol=2**-11, atol=1e-6 * size)


def test_a_map_that_is_not_finite_is_refused(open_cache, images):
    model = build_model()
    conv = model.get_layer("early")
    conv.set_weights([np.full_like(weight, np.inf) for weight in conv.get_weights()])
    model.layers[-1].set_weights([0 * weight for weight in model.layers[-1].get_weights()])
    cache = open_cache(as_teacher(model), layers=("early",))
    with pytest.raises(
        InputError, match=rf"output of `teacher` for '{images.paths[0]}' is not finite"
    ):
        cache.fill()
    assert not list(cache.folder.rglob("*.npy"))


def test_only_a_keras_model_has_layers(open_cache):
    teacher = Teacher(lambda x: x[:, 0, 0], image_size=16, fingerprint="corner")
    with pytest.raises(
        InputError, match="`layers=early`: only a teacher that is a Keras model has"
    ):
        open_cache(teacher, layers=("early",))


@pytest.mark.parametrize("layer", ["dense", "top"])
def test_a_layer_without_a_map(open_cache, layer):
    with pytest.raises(
        InputError, match=f"`layer='{layer}'` is not a layer of `teacher` 'teacher' with"
    ):
        open_cache(layers=(layer,))
