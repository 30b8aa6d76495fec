import numpy as np
import pytest
import tensorflow as tf

from keras_distill.teachers.onnx_runner import OnnxRunner


def function(images):
    pixels = tf.cast(images, tf.float32)
    return {"layer/a b": pixels[:, ::2, ::2] / 255, "mean": tf.reduce_mean(pixels, [1, 2])}


@pytest.fixture(scope="module")
def run():
    return OnnxRunner(function, 8)


@pytest.mark.parametrize("rows", [5, 1, 0])
def test_it_answers_as_the_function(run, rows):
    pixels = np.random.default_rng(0).integers(0, 256, (rows, 8, 8, 3), dtype=np.uint8)
    answers, expected = run(pixels), function(pixels)
    assert list(answers) == list(expected)
    for name, answer in answers.items():
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, expected[name], rtol=1e-6)


def test_it_runs_again_after_release(run):
    pixels = np.full((3, 8, 8, 3), 7, np.uint8)
    before = run(pixels)
    for _ in range(2):
        run.release()
    np.testing.assert_array_equal(run(pixels)["mean"], before["mean"])


def test_it_prints_nothing(capfd):
    OnnxRunner(function, 8)(np.zeros((1, 8, 8, 3), np.uint8))
    assert capfd.readouterr() == ("", "")
