import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_distill.data.decoding import decode_image, decode_window

WINDOW = tf.function(
    decode_window,
    input_signature=[
        tf.TensorSpec([], tf.string),
        tf.TensorSpec([4], tf.int32),
        tf.TensorSpec([], tf.int32),
    ],
)

JPEGS = {
    "4:4:4": {"subsampling": "4:4:4"},
    "4:2:2": {"subsampling": "4:2:2"},
    "4:2:0": {"subsampling": "4:2:0"},
    "progressive 4:2:0": {"subsampling": "4:2:0", "progressive": True},
    "progressive 4:4:4": {"subsampling": "4:4:4", "progressive": True},
    "restart markers": {"subsampling": "4:2:0", "restart_marker_blocks": 3},
    "greyscale": {"mode": "L"},
    "progressive greyscale": {"mode": "L", "progressive": True},
    "CMYK": {"mode": "CMYK"},
}


def pixels(height, width, seed=0):
    """Smooth colours and noise, so that neither luma nor chroma is flat anywhere."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 7 + 2, width // 7 + 2, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return smooth // 2 + rng.integers(0, 128, (height, width, 3), dtype=np.uint8)


def encode(array, file_format="JPEG", mode=None, **options):
    image = Image.fromarray(array)
    buffer = io.BytesIO()
    (image if mode is None else image.convert(mode)).save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("shape", [(37, 53), (64, 96), (9, 7), (1, 1), (2, 120)])
def test_a_window_equals_decoding_and_slicing(options, shape):
    data = encode(pixels(*shape), quality=85, **options)
    whole = decode_image(data).numpy()
    assert whole.shape == (*shape, 3)
    assert whole.dtype == np.uint8
    rng = np.random.default_rng(1)
    windows = [(0, 0, *shape), (shape[0] - 1, shape[1] - 1, 1, 1)]
    for _ in range(25):
        height, width = rng.integers(1, np.add(shape, 1))
        top, left = rng.integers(0, (shape[0] - height + 1, shape[1] - width + 1))
        windows.append((top, left, height, width))
    for top, left, height, width in windows:
        window = WINDOW(data, tf.constant([top, left, height, width], tf.int32), shape[1])
        np.testing.assert_array_equal(
            window, whole[top : top + height, left : left + width], (top, left, height, width)
        )


@pytest.mark.parametrize("options", [v for k, v in JPEGS.items() if k != "CMYK"])
def test_jpeg_decodes_as_by_pillow(options):
    data = encode(pixels(37, 53), quality=85, **options)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode_image(data), expected)


def test_cmyk_jpeg_becomes_rgb():
    image = decode_image(encode(np.full((8, 6, 3), 200, np.uint8), mode="CMYK", quality=95))
    assert image.shape == (8, 6, 3)
    np.testing.assert_allclose(image, 200, atol=3)


def test_exif_orientation_is_not_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    array = pixels(10, 20)
    turned, upright = encode(array, exif=exif), encode(array)
    np.testing.assert_array_equal(decode_image(turned), decode_image(upright))


def test_png_rgb_is_exact():
    array = pixels(11, 17)
    np.testing.assert_array_equal(decode_image(encode(array, "PNG")), array)


def test_png_alpha_is_dropped():
    array = pixels(11, 17)
    alpha = np.arange(11 * 17, dtype=np.uint8).reshape(11, 17, 1)
    np.testing.assert_array_equal(
        decode_image(encode(np.concatenate([array, alpha], 2), "PNG")), array
    )


def test_png_of_16_bits_keeps_the_high_byte_and_becomes_rgb():
    grey = np.random.default_rng(0).integers(0, 65536, (11, 17)).astype(np.uint16)
    expected = np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
    np.testing.assert_array_equal(decode_image(encode(grey, "PNG")), expected)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1"])
def test_other_png_modes_become_rgb(mode):
    data = encode(pixels(11, 17), "PNG", mode=mode)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode_image(data), expected)


@pytest.mark.parametrize("data", [b"", b"not an image", encode(pixels(20, 20))[:-200]])
def test_what_is_no_whole_image_raises(data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(data)
