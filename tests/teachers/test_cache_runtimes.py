import importlib.metadata
import json

import keras
import numpy as np
import pytest
from PIL import Image

from keras_distill.data.image_set import read_folder
from keras_distill.data.view_changes import ViewChanges
from keras_distill.errors import InputError
from keras_distill.teachers import cache as teacher_cache
from keras_distill.teachers import runtimes
from keras_distill.teachers.cache import TeacherCache
from keras_distill.teachers.onnx_runner import OnnxRunner
from keras_distill.teachers.teacher import Teacher, as_teacher

LAYERS = {"map": None, "inner/deep": (3, 3)}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for index in range(7):
        path = folder / f"class{index % 2}" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    return read_folder(folder)


@pytest.fixture(scope="module")
def model():
    """A model with a scaling of its own, batch normalisation, and a layer in a model within it."""
    keras.utils.set_random_seed(0)
    features = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(5, 3, padding="same", activation="relu6", name="deep")(features)
    inner = keras.Model(features, x, name="inner")
    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="map")(image)
    x = inner(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    x = keras.layers.UnitNormalization(dtype="float32")(x)
    return keras.Model(image, x)


@pytest.fixture
def open_cache(model, images, tmp_path):
    teacher = as_teacher(model, preprocessing="imagenet_caffe")

    def open_cache(runtime="auto", given_teacher=teacher, **options):
        return TeacherCache(given_teacher, images, tmp_path, views=3, runtime=runtime, **options)

    return open_cache


@pytest.fixture
def large(monkeypatch):
    """Every cache is large enough for a conversion."""
    monkeypatch.setattr(runtimes, "ENOUGH_PIXELS", 0)


@pytest.fixture
def converted(monkeypatch):
    """Replaces the conversion: Keras itself, whose answers are changed; counts the conversions."""
    made = []

    def replace(change):
        class Fake(OnnxRunner):
            def __init__(self, function, image_size):
                made.append(image_size)
                change({"embedding": np.zeros(1)})
                self.function = function

            def __call__(self, pixels):
                return change({k: v.numpy() for k, v in self.function(pixels).items()})

            def release(self):
                pass

        monkeypatch.setattr(teacher_cache, "OnnxRunner", Fake)
        return made

    return replace


def answers(cache, view):
    rows = np.arange(len(cache.images))
    found = {"embedding": cache.lookup(rows, 0 * rows + view)}
    return found | cache.lookup_features(rows, 0 * rows + view)


@pytest.mark.slow
def test_onnx_runtime_answers_as_keras_does(open_cache, monkeypatch):
    by_keras = open_cache("keras", layers=LAYERS)
    by_keras.fill(1)
    cache = open_cache("onnx", layers=LAYERS)
    cache.prepare(1)
    monkeypatch.setattr(Teacher, "features", None)  # Keras is not needed any longer
    cache.fill(1, batch_size=3)
    assert (cache.runtime, cache.missing_rows(1)) == ("onnx", 0)
    expected = answers(by_keras, 0)
    for name, found in answers(cache, 0).items():
        largest = np.abs(expected[name]).max()
        # The same numbers, where rounding to float16 may decide otherwise.
        np.testing.assert_allclose(found, expected[name], rtol=2**-10, atol=1e-6 * largest)
    manifest = json.loads((cache.folder / "manifest.json").read_text())
    assert manifest["versions"] == {
        "keras": keras.__version__,
        "onnxruntime": importlib.metadata.version("onnxruntime"),
        "tf2onnx": importlib.metadata.version("tf2onnx"),
    }
    manifest = json.loads((by_keras.folder / "manifest.json").read_text())
    assert manifest["versions"] == {"keras": keras.__version__}
    assert by_keras.folder != cache.folder


def test_a_large_cache_is_filled_by_onnx_runtime(open_cache, converted, large):
    made = converted(lambda found: found)
    cache = open_cache()
    assert cache.runtime == "onnx"
    cache.fill(1)
    cache.fill(2)
    assert made == [16]  # converted once
    again = open_cache()
    assert (again.folder, again.missing_rows(2)) == (open_cache("onnx").folder, 0)
    again.fill(2)
    assert made == [16]  # nothing is missing


@pytest.mark.slow
def test_caches_of_plain_and_of_mixed_views_share_a_conversion(open_cache, converted):
    made = converted(lambda found: found)
    for changes in (ViewChanges(), ViewChanges("cutout"), ViewChanges(mixup_alpha=1.0)):
        cache = open_cache("onnx", changes=changes)
        cache.fill(1)
        assert (cache.runtime, cache.missing_rows(1)) == ("onnx", 0)
    assert made == [16]
    open_cache("onnx", layers=["map"]).fill(1)
    assert made == [16, 16]  # other outputs


def test_a_teacher_that_has_changed_is_converted_again(images, tmp_path, converted):
    made = converted(lambda found: found)
    image = keras.Input((16, 16, 3), name="image")
    model = keras.Model(
        image, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3)(image))
    )
    teacher = as_teacher(model)
    for _ in range(2):
        TeacherCache(teacher, images, tmp_path, views=3, runtime="onnx").fill(1)
        model.set_weights([weight + 1 for weight in model.get_weights()])
    assert made == [16, 16]


def test_a_small_cache_is_filled_by_keras(open_cache, converted):
    made = converted(lambda found: found)
    cache = open_cache()
    cache.fill(1)
    assert (cache.runtime, made) == ("keras", [])
    assert len(list(cache.folder.parent.iterdir())) == 1  # of the other there is no trace


@pytest.mark.parametrize("views", [1, 3])
def test_what_keras_has_begun_is_used_and_completed_by_keras(open_cache, converted, large, views):
    made = converted(lambda found: found)
    begun = open_cache("keras")
    begun.fill(views)
    cache = open_cache()
    assert (cache.folder, cache.missing_rows(views)) == (begun.folder, 0)
    cache.fill()
    assert (cache.runtime, cache.missing_rows(), made) == ("keras", 0, [])


def test_the_fuller_of_two_is_taken(open_cache, converted):
    converted(lambda found: found)
    open_cache("keras").fill(1)
    open_cache("onnx").fill(2)
    assert open_cache().folder == open_cache("onnx").folder


def too_large(found):
    return {name: value * 1.001 for name, value in found.items()}


def not_finite(found):
    return {name: value * np.nan for name, value in found.items()}


def of_another_shape(found):
    return {name: value[:1] for name, value in found.items()}


def impossible(found):
    raise ValueError("no such\noperation")


FAULTS = {
    too_large: "differs from Keras in embedding by 0.001 of the largest value, more than 0.0001",
    not_finite: "differs from Keras in embedding by nan of",
    of_another_shape: "answers embedding of shape (1, 3), not (7, 3) as in Keras",
    impossible: "could not be converted (no such operation)",
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_conversion_is_told_and_keras_takes_its_place(
    open_cache, converted, large, caplog, fault
):
    converted(fault)
    cache = open_cache()
    cache.fill(1)
    (said,) = caplog.messages
    assert said.startswith(f"ONNX Runtime: the teacher {FAULTS[fault]}")
    assert said.endswith("; it is run by Keras instead.")
    by_keras = open_cache("keras")
    assert (cache.folder, cache.runtime) == (by_keras.folder, "keras")
    assert by_keras.missing_rows(1) == 0
    assert open_cache("onnx").missing_rows(1) == 7
    with pytest.raises(InputError, match=r"^`runtime=onnx`: the teacher .*; give `runtime=keras`"):
        open_cache("onnx").fill()


def test_the_difference_that_is_allowed(open_cache, converted, large, caplog):
    converted(lambda found: {name: value * (1 + 5e-5) for name, value in found.items()})
    cache = open_cache()
    cache.fill(1)
    assert (cache.runtime, caplog.messages) == ("onnx", [])


def test_another_teacher_has_no_choice(open_cache):
    function = Teacher(lambda x: x[:, 0, 0], image_size=16, embedding_dim=3, fingerprint="corner")
    assert open_cache(given_teacher=function).runtime == "keras"
    with pytest.raises(InputError, match=r"^`runtime=keras`: `teacher` is no Keras model"):
        open_cache("keras", function)
