from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from keras_distill import InputError, mirror_averaged
from keras_distill.data.image_set import read_folder
from keras_distill.embedding.jpeg_model import JpegModel, takes_files
from keras_distill.embedding.pixel_model import PixelModel
from keras_distill.serving.export.bundle import export_embedder
from keras_distill.teachers.teacher import as_teacher


@pytest.fixture(scope="module")
def exported(small_embedder, tmp_path_factory):
    model = small_embedder(6)
    return model, export_embedder(model, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def pair(exported):
    model, folder = exported
    student = PixelModel("student", folder, as_teacher(model), 32)
    return student, JpegModel("export", folder, tf.saved_model.load(str(folder)))


def test_files_are_embedded_as_their_pixels(pair, drawn):
    student, export = pair
    done = []
    vectors = export.embed(drawn, batch_size=40, on_batch=done.append)
    assert done == [40, 40, 16]
    np.testing.assert_allclose(vectors, student.embed(drawn, batch_size=96), atol=1e-5)
    data = tf.constant([(drawn.root / path).read_bytes() for path in drawn.paths[[3, 90]]])
    for model in pair:
        np.testing.assert_allclose(model.from_jpeg(data), vectors[[3, 90]], atol=1e-5)


@pytest.mark.slow
def test_pixels_may_be_timed_too(pair):
    student, export = pair
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    np.testing.assert_allclose(
        export.from_pixels(tf.constant(images)), student.from_pixels(images), atol=1e-5
    )
    assert export.image_size == student.image_size == 32


def test_weights_and_size(pair, exported):
    student, export = pair
    model, folder = exported
    assert student.parameters == export.parameters == model.count_params()
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert export.megabytes == sum(file.stat().st_size for file in files) / 1e6


def test_models_that_take_no_files(tmp_path):
    module = tf.Module()
    for name, spec in (
        ("pixels", tf.TensorSpec([None, 8, 8, 3], tf.float32)),
        ("scalar", tf.TensorSpec([], tf.string)),
    ):
        function = tf.function(lambda image: tf.zeros([1, 2]), input_signature=[spec])
        tf.saved_model.save(module, str(tmp_path / name), {"serving_default": function})
        assert not takes_files(tf.saved_model.load(str(tmp_path / name)))
    tf.saved_model.save(module, str(tmp_path / "none"))
    assert not takes_files(tf.saved_model.load(str(tmp_path / "none")))


@pytest.mark.slow
def test_mirror_averages_decoded_files(pair, exported, photos):
    model, folder = exported
    loaded = tf.saved_model.load(str(folder))
    averaged = JpegModel("export", folder, loaded, mirror=True)
    expected = PixelModel("student", folder, as_teacher(mirror_averaged(model)), 32)
    files = read_folder(photos)
    vectors = averaged.embed(files, batch_size=40)
    np.testing.assert_allclose(vectors, expected.embed(files, batch_size=96), atol=1e-5)
    assert np.abs(vectors - pair[1].embed(files, batch_size=96)).max() > 1e-3
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    np.testing.assert_allclose(
        averaged.from_pixels(tf.constant(images)), expected.from_pixels(images), atol=1e-5
    )
    assert averaged.mirror_averaged
    assert not pair[1].mirror_averaged


def test_mirror_needs_a_signature_of_pixels(exported):
    _, folder = exported
    loaded = tf.saved_model.load(str(folder))
    only = SimpleNamespace(signatures={"serving_default": loaded.signatures["serving_default"]})
    with pytest.raises(InputError, match=r"`mirror=True`: .* has no signature serve_uint8"):
        JpegModel("export", folder, only, mirror=True)
