import io
import itertools
import os
import resource
import subprocess
import sys
from contextlib import contextmanager

import hypothesis
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The same examples on every machine, however slow it is.
hypothesis.settings.register_profile(
    "any_machine",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("any_machine")


@pytest.fixture(scope="session")
def run_python():
    """Runs code in a fresh interpreter and returns what it prints."""

    def run(code, *arguments):
        result = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


@pytest.fixture
def dtype_policy():
    """Sets Keras' dtype policy for one test."""
    import keras

    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def value_and_gradient():
    """Returns a function's value at a matrix and its gradient there, as numpy arrays."""
    import tensorflow as tf

    def compute(function, matrix):
        matrix = tf.convert_to_tensor(matrix)
        with tf.GradientTape() as tape:
            tape.watch(matrix)
            value = function(matrix)
        gradient = tape.gradient(value, matrix, unconnected_gradients="zero")
        return value.numpy(), gradient.numpy()

    return compute


@pytest.fixture(scope="session")
def small_embedder():
    """Builds an embedder with a few hundred weights, batch normalisation among them or not."""
    import keras

    def build(dim=4, *, seed=0, image_size=32, batch_norm=True):
        keras.utils.set_random_seed(seed)
        image = keras.Input((image_size, image_size, 3), name="image")
        x = keras.layers.Rescaling(1 / 127.5, -1, dtype="float32")(image)
        x = keras.layers.Conv2D(8, 3, strides=2, activation="tanh")(x)
        if batch_norm:
            x = keras.layers.BatchNormalization()(x)
        x = keras.layers.GlobalAveragePooling2D()(x)
        x = keras.layers.Dense(dim)(x)
        return keras.Model(image, keras.layers.UnitNormalization(dtype="float32")(x))

    return build


@pytest.fixture(scope="session")
def photograph():
    """Makes a JPEG of smooth colours as a phone stores it, and its upright copy as a PNG."""
    import numpy as np
    from PIL import Image, ImageOps

    def encoded(image, file_format, **options):
        buffer = io.BytesIO()
        image.save(buffer, file_format, **options)
        return buffer.getvalue()

    def make(orientation, shape=(48, 80), *, seed=0, **options):
        colours = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        image = Image.fromarray(colours).resize(shape[::-1], Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[0x010F] = "a maker"
        exif[0x0112] = orientation
        exif[0x0132] = "2026:01:01 00:00:00"
        jpeg = encoded(image, "JPEG", quality=90, exif=exif, **options)
        return jpeg, encoded(ImageOps.exif_transpose(Image.open(io.BytesIO(jpeg))), "PNG")

    return make


@pytest.fixture(scope="session")
def small_disk():
    """A context in which no file can grow beyond 64 KiB, the nearest to a full disk."""

    @contextmanager
    def limited():
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture(scope="session")
def few_files():
    """A context in which this process can open so many files more and no others."""

    @contextmanager
    def limited(more):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # The listing itself takes a number, which is free again afterwards.
        taken = {
            int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")
        }
        free = (number for number in itertools.count() if number not in taken)
        least = next(itertools.islice(free, more, None))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(least, soft), hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    return limited


@pytest.fixture
def served():
    """A server that answers like TF-Serving with a model `birds`, and fails on demand."""
    from fake_server import FakeServer

    with FakeServer().running() as server:
        yield server
