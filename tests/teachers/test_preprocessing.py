import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.teachers.preprocessing import PREPROCESSINGS, preprocess
from keras_distill.teachers.teacher import Teacher

KERAS_MODE = {"-1_1": "tf", "imagenet_caffe": "caffe", "imagenet_torch": "torch"}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", KERAS_MODE)
def test_agrees_with_keras(name, images):
    expected = keras.applications.imagenet_utils.preprocess_input(
        np.float32(images), mode=KERAS_MODE[name]
    )
    for pixels in (images, np.float64(images), tf.cast(images, "bfloat16")):
        scaled = preprocess(pixels, name)
        assert scaled.dtype == "float32"
        np.testing.assert_allclose(scaled, expected, atol=2e-5)


def test_range_from_0_to_1(images):
    np.testing.assert_allclose(preprocess(images, "0_1"), images / 255, atol=1e-6)


def test_nothing(images):
    assert preprocess(images, "0_255") is images


def test_unknown_name(images):
    message = (
        r"^`preprocessing='tf'` is unknown; choose one of 0_255, -1_1, 0_1, imagenet_caffe, im"
    )
    for use in (lambda: preprocess(images, "tf"), lambda: Teacher(len, preprocessing="tf")):
        with pytest.raises(InputError, match=message):
            use()


@pytest.mark.parametrize("name", PREPROCESSINGS)
def test_comes_before_the_function(name, images):
    teacher = Teacher(lambda pixels: tf.reshape(pixels, [3, -1]), preprocessing=name)
    np.testing.assert_allclose(
        teacher(images), tf.reshape(preprocess(images, name), [3, -1]), atol=1e-5
    )
