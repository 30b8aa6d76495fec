"""Requests of several threads, as a server makes them."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_distill.serving.export.bundle import export_embedder
from keras_distill.serving.export.graph_batching import batched
from keras_distill.serving.export.session_model import SessionModel

SIZE, DIM = 32, 4


@pytest.fixture(scope="module")
def models(small_embedder):
    return [small_embedder(DIM, seed=seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def loaded(models, tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    sessions = [SessionModel(export_embedder(model, root)) for model in models]

    def call(version, signature, value):
        key = "image_bytes" if signature == "serving_default" else "image"
        answer = sessions[version].call(signature, {key: np.asarray(value)}, ["embedding"])
        return answer["embedding"]

    return call


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (48, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def expected(models, pixels):
    return [model(pixels, training=False).numpy() for model in models]


def encode(image):
    """A PNG file of which the centre is the image."""
    file = io.BytesIO()
    Image.fromarray(np.pad(image, ((2, 3), (2, 3), (0, 0)))).save(file, "PNG")
    return file.getvalue()


def test_a_bad_image_fails_its_own_request_only(loaded, pixels, expected):
    """Also where signatures, and two versions of a model in one process, are asked at once."""
    files = [encode(image) for image in pixels]
    np_rows = [np.random.default_rng(n).choice(48, 1 + n % 5, replace=False) for n in range(96)]

    def ask(n):
        rows, version = np_rows[n], n % 2
        if n % 3 == 0:
            data = [files[row] for row in rows] + ([b"no image"] if n % 4 == 0 else [])
            answer = loaded(version, "serving_default", np.array(data, object))
        elif n % 3 == 1:
            answer = loaded(version, "serve_uint8", pixels[rows])
        else:
            answer = loaded(version, "serve_float", np.float32(pixels[rows]))
        np.testing.assert_allclose(answer, expected[version][rows], atol=1e-5)

    with ThreadPoolExecutor(16) as pool:
        ended = [pool.submit(ask, n) for n in range(96)]
    for n, future in enumerate(ended):
        if n % 12 == 0:
            with pytest.raises(tf.errors.InvalidArgumentError, match="neither a JPEG nor a PNG"):
                future.result()
        else:
            assert future.result() is None


@pytest.mark.parametrize("rows", [1, 33, 48])
def test_any_number_of_rows_is_answered(loaded, pixels, expected, rows):
    answer = loaded(0, "serve_uint8", pixels[:rows])
    np.testing.assert_allclose(answer, expected[0][:rows], atol=1e-5)


def test_no_rows_are_an_invalid_argument(loaded):
    with pytest.raises(tf.errors.InvalidArgumentError):
        loaded(0, "serve_uint8", np.zeros([0, SIZE, SIZE, 3], np.uint8))


def test_calls_share_batches_of_the_allowed_sizes():
    sizes, lock = [], threading.Lock()

    def record(size):
        with lock:
            sizes.append(int(size))
        return size

    def network(x):
        (size,) = [tf.py_function(record, [tf.shape(x)[0]], tf.int32)]
        return x + tf.cast(0 * size, tf.float32)

    run = batched(network)
    call = tf.function(lambda x: run(x), autograph=False)
    call.get_concrete_function(tf.TensorSpec([None, 1], tf.float32))

    def ask(n):
        return float(call(tf.fill([3, 1], float(n)))[2, 0])

    # No more than 24 rows at once: what has to be split may leave a single one.
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(64))) == list(range(64))
    assert set(sizes) <= {4, 8, 16, 32}
    assert len(sizes) < 64
