import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_distill.data.pixel_limit import MAX_PIXELS
from keras_distill.serving.export.request_bounds import (
    MOST_PIXELS,
    MOST_ROWS,
    bounded_pixels,
    bounded_rows,
)

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def encode(kind):
    file = io.BytesIO()
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(file, kind)
    return file.getvalue()


def png_of(height, width):
    return PNG + struct.pack(">II", width, height)


def jpeg_of(height, width):
    good = encode("JPEG")
    frame = good.index(b"\xff\xc0")
    return good[: frame + 5] + struct.pack(">HH", height, width) + good[frame + 9 :]


@pytest.fixture(scope="module")
def check():
    """As in an exported graph, where nobody knows the shape before."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def check(image_bytes):
        return bounded_pixels(bounded_rows(image_bytes))

    return lambda files: check(tf.constant(files, tf.string)).numpy().tolist()


@pytest.mark.parametrize(
    "files",
    [
        [encode("JPEG"), encode("PNG")],
        [encode("GIF"), b"", b"no image", PNG[:8], PNG],  # for the decoder to refuse
        [b"x"] * MOST_ROWS,
        [png_of(10_000, MAX_PIXELS // 10_000), jpeg_of(10_000, 10_000)],
        [png_of(10_000, MAX_PIXELS // 10_000)] * (MOST_PIXELS // MAX_PIXELS),
        [],
    ],
)
def test_what_passes(check, files):
    assert check(files) == files


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([b"x"] * (MOST_ROWS + 1), f"A request may hold {MOST_ROWS} images; this one has.*1025"),
        ([b"", png_of(10_001, 10_000)], f"An image may have {MAX_PIXELS} pixels.*100010000"),
        ([jpeg_of(65_000, 65_000)], "the largest one claims.*4225000000"),
        # Their product is -2**33 + 1 in 64 bits.
        ([png_of(2**32 - 1, 2**32 - 1)], "the largest one claims.*8589934591"),
        (
            [png_of(10_000, 10_000)] * (MOST_PIXELS // 10**8) + [encode("PNG")],
            f"The images of a request may have {MOST_PIXELS} pixels; these claim.*800001200",
        ),
    ],
)
def test_what_is_refused(check, files, said):
    with pytest.raises(tf.errors.InvalidArgumentError, match=said):
        check(files)
