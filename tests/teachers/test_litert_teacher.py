import sys
import threading
import warnings
from importlib.metadata import version

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.teachers.loading import load_teacher


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)


def convert(model, path, representative=None, input_type="float32", output_type="float32"):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if representative is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None]] for image in representative)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.as_dtype(input_type)
        converter.inference_output_type = tf.as_dtype(output_type)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Statistics for quantized inputs")
        path.write_bytes(converter.convert())
    return path


def embedder(size=16, *, scaled=True, batch=None, dims=(5,), flat=True, channels=3):
    keras.utils.set_random_seed(0)
    image = keras.Input(batch_shape=(batch, size, size, channels), name="image")
    x = keras.layers.Rescaling(1 / 127.5, -1)(image) if scaled else image
    x = keras.layers.Conv2D(8, 3, strides=2, activation="tanh")(x)
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=not flat)(x)
    outputs = [keras.layers.Dense(dim)(pooled) for dim in dims]
    return keras.Model(image, outputs[0] if len(outputs) == 1 else outputs)


@pytest.fixture(scope="module")
def model():
    return embedder()


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    return convert(model, tmp_path_factory.mktemp("litert") / "teacher.tflite")


def test_agrees_with_the_model(file, model, images):
    teacher = load_teacher(file)
    assert (teacher.embedding_dim, teacher.image_size, teacher.needs_ids) == (5, 16, False)
    for pixels in (images, np.float32(images), images[:2], images[:1], images):
        answer = teacher(pixels)
        assert answer.dtype == "float32"
        np.testing.assert_allclose(answer, model(pixels, training=False), atol=1e-5)
    assert teacher(images[:0]).shape == (0, 5)


def test_in_graphs_and_pipelines(file, model, images):
    teacher = load_teacher(file)
    expected = model(images, training=False)
    traced = tf.function(teacher).get_concrete_function(tf.TensorSpec([None, 16, 16, 3], "uint8"))
    assert traced.structured_outputs.shape.as_list() == [None, 5]
    np.testing.assert_allclose(traced(tf.constant(images)), expected, atol=1e-5)
    batches = tf.data.Dataset.from_tensor_slices(images).batch(4).map(teacher, num_parallel_calls=2)
    np.testing.assert_allclose(np.concatenate(list(batches)), expected, atol=1e-5)


def test_no_gradient(file, images):
    pixels = tf.constant(np.float32(images))
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        answer = load_teacher(file)(pixels)
    assert tape.gradient(answer, pixels) is None


def test_from_several_threads(file, model, images):
    teacher = load_teacher(file)
    expected = model(images, training=False)
    errors = []

    def ask(rows):
        for _ in range(20):
            errors.append(np.abs(teacher(images[:rows]) - expected[:rows]).max())

    threads = [threading.Thread(target=ask, args=[rows]) for rows in (1, 2, 3, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 80
    assert max(errors) < 1e-5


@pytest.mark.quick(2)
@pytest.mark.parametrize("types", [("float32", "float32"), ("uint8", "uint8"), ("int8", "int8")])
@pytest.mark.parametrize("scaled", [True, False])
def test_quantised(types, scaled, images, tmp_path):
    model = embedder(scaled=scaled)
    pixels = np.float32(images) if scaled else images / np.float32(127.5) - 1
    path = convert(model, tmp_path / "small.tflite", pixels, *types)
    expected = model(pixels, training=False).numpy()
    teacher = load_teacher(path, preprocessing="0_255" if scaled else "-1_1")
    step = (expected.max() - expected.min()) / 255
    np.testing.assert_allclose(teacher(images), expected, atol=8 * step)


def test_fixed_batch(images, tmp_path):
    for batch in (1, 4):
        model = embedder(batch=batch)
        teacher = load_teacher(convert(model, tmp_path / "fixed.tflite"))
        free = embedder()
        free.set_weights(model.get_weights())
        for rows in (6, 1, 4):
            expected = free(images[:rows], training=False)
            np.testing.assert_allclose(teacher(images[:rows]), expected, atol=1e-5)


def test_any_size(images, tmp_path):
    model = embedder(size=None)
    path = convert(model, tmp_path / "free.tflite")
    teacher = load_teacher(path)
    assert teacher.image_size is None
    for size in (8, 16, 8):
        pixels = images[:, :size, :size]
        np.testing.assert_allclose(teacher(pixels), model(pixels, training=False), atol=1e-5)
    assert load_teacher(path, image_size=8).image_size == 8


def test_vector_with_places_of_its_own(images, tmp_path):
    model = embedder(flat=False)
    teacher = load_teacher(convert(model, tmp_path / "deep.tflite"))
    assert model.output_shape == (None, 1, 1, 5)
    np.testing.assert_allclose(teacher(images), model(images)[:, 0, 0], atol=1e-5)


def test_several_outputs(images, tmp_path):
    model = embedder(dims=(5, 7))
    path = convert(model, tmp_path / "two.tflite")
    with pytest.raises(
        InputError, match=r"^`path='.*two.tflite'`: `output=''` is not one"
    ) as caught:
        load_teacher(path)
    listed = str(caught.value).partition("these are ")[2]
    for number in "01":
        by_number = load_teacher(path, output=number)
        name = listed.partition(f"{number} (")[2].partition(",")[0]
        by_name = load_teacher(path, output=name)
        assert by_name.embedding_dim == by_number.embedding_dim
        assert by_name.fingerprint == by_number.fingerprint
        expected = next(
            output for output in model(images) if output.shape[1] == by_number.embedding_dim
        )
        np.testing.assert_allclose(by_number(images), expected, atol=1e-5)
        np.testing.assert_allclose(by_name(images), expected, atol=1e-5)
    assert load_teacher(path, output="0").fingerprint != load_teacher(path, output="1").fingerprint
    with pytest.raises(
        InputError, match=r"`output='2'` is not one of .*; these are 0 \(.* values\)"
    ):
        load_teacher(path, output="2")


def test_the_version_of_the_runtime_is_known(file):
    assert load_teacher(file).versions == {"ai-edge-litert": version("ai-edge-litert")}


def test_preprocessing_and_fingerprint(file, model, images):
    teacher = load_teacher(file, preprocessing="imagenet_caffe")
    caffe = keras.applications.imagenet_utils.preprocess_input(np.float32(images), mode="caffe")
    np.testing.assert_allclose(teacher(images), model(caffe, training=False), atol=1e-5)
    plain = load_teacher(file).fingerprint
    assert plain == load_teacher(file, output="0").fingerprint != teacher.fingerprint


def test_fingerprint_is_of_the_content(file, tmp_path):
    copy = tmp_path / "copy.tflite"
    copy.write_bytes(file.read_bytes())
    assert load_teacher(copy).fingerprint == load_teacher(file).fingerprint
    other = convert(embedder(dims=(6,)), tmp_path / "other.tflite")
    assert load_teacher(other).fingerprint != load_teacher(file).fingerprint


def test_wrong_images(file, tmp_path):
    with pytest.raises(InputError, match=r"^`image_size=32`: `path='.*'` takes images of 16 x 16"):
        load_teacher(file, image_size=32)
    grey = convert(embedder(channels=1), tmp_path / "grey.tflite")
    with pytest.raises(
        InputError, match=r"grey.*'` takes \[None, 16, 16, 1\]; it must have one inp"
    ):
        load_teacher(grey)


def test_no_vectors(tmp_path):
    image = keras.Input((8, 8, 3))
    path = convert(keras.Model(image, keras.layers.Conv2D(4, 3)(image)), tmp_path / "map.tflite")
    with pytest.raises(InputError, match="outputs that are vectors; these are none"):
        load_teacher(path)


def integer_input(path, function, dtype):
    spec = tf.TensorSpec([None, 4, 4, 3], dtype)
    module = tf.Module()
    module.call = tf.function(function, input_signature=[spec])
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.call.get_concrete_function()], module
    )
    path.write_bytes(converter.convert())
    return path


def test_integers_without_a_scale(tmp_path):
    def pooled(image):
        return tf.reduce_mean(tf.cast(image, "float32"), axis=[1, 2])

    path = integer_input(tmp_path / "bytes.tflite", pooled, "uint8")
    np.testing.assert_allclose(load_teacher(path)(np.full((2, 4, 4, 3), 200.4, "float32")), 200)
    with pytest.raises(InputError, match=r"takes uint8 pixels without a scale, .*'0_1'` makes"):
        load_teacher(path, preprocessing="0_1")
    path = integer_input(tmp_path / "signed.tflite", pooled, "int8")
    with pytest.raises(InputError, match="takes int8 pixels without a scale"):
        load_teacher(path)


@pytest.mark.parametrize("content", [b"", b"garbage", 0.1, 0.5, 0.95, "folder"])
def test_damaged(content, file, tmp_path):
    path = tmp_path / "damaged.tflite"
    if content == "folder":
        path.mkdir()
    else:
        whole = file.read_bytes()
        path.write_bytes(
            whole[: int(content * len(whole))] if isinstance(content, float) else content
        )
    with pytest.raises(InputError, match=r"^`path='.*damaged.tflite'` could not be loaded: "):
        load_teacher(path)


def test_missing_package(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(
        InputError, match=r"needs the package .*pip install 'keras_distill\[litert\]'"
    ):
        load_teacher(file)
