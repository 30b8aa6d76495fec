import io

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from keras_distill.data.decoding import NO_IMAGE, decode_crop, decode_image, decode_window
from keras_distill.data.orientation import upright as oriented

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


OTHER_FORMATS = ("GIF", "BMP", "WEBP", "TIFF")


def encode_other(file_format):
    return encode(pixels(8, 9), file_format)


@pytest.mark.quick(12)
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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_as_by_pillow(photograph, orientation):
    jpeg, upright = photograph(orientation, (37, 53))
    np.testing.assert_array_equal(decode_image(jpeg), decode_image(upright))


@pytest.mark.parametrize("orientation", [1, 2, 8])
def test_a_fraction_of_a_jpeg(photograph, orientation):
    jpeg, upright = photograph(orientation, (64, 96))
    whole = Image.open(io.BytesIO(upright))
    for fraction in (2, 4):
        small = decode_image(jpeg, fraction=fraction)
        expected = whole.resize((whole.width // fraction, whole.height // fraction))
        np.testing.assert_allclose(small, np.asarray(expected, float), atol=12)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_crop_equals_decoding_and_slicing(photograph, orientation, whole):
    jpeg, upright = photograph(orientation, (37, 53), subsampling="4:2:0")
    image = np.asarray(Image.open(io.BytesIO(upright)))
    drawn = []

    def draw(shape):
        drawn.append(tuple(shape.numpy()))
        return tf.constant([3, 5, 21, 17])

    for data in (jpeg, upright):
        stored, turn = decode_crop(tf.constant(data), draw, whole=whole)
        np.testing.assert_array_equal(oriented(stored, turn), image[3:24, 5:22])
    assert drawn == [image.shape[:2]] * 2


def test_png_rgb_is_exact():
    array = pixels(11, 17)
    np.testing.assert_array_equal(decode_image(encode(array, "PNG")), array)


def over_white(data):
    """What Pillow makes of a transparent image over white."""
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return np.asarray(white)


def test_alpha_lets_white_through():
    colour, alpha = np.mgrid[:256, :256].astype(np.uint8)
    data = encode(np.stack([colour, colour[::-1], colour, alpha], 2), "PNG")
    np.testing.assert_array_equal(decode_image(data), over_white(data))
    ink = np.zeros((4, 4, 4), np.uint8)  # black, wherever it is
    ink[1:3, 1:3, 3] = 255
    np.testing.assert_array_equal(decode_image(encode(ink, "PNG"))[..., 0], 255 - ink[..., 3])


TRANSPARENT = {
    "grey and alpha": ("LA", None),
    "palette with one transparent colour": ("P", 3),
    "palette with an alpha for each colour": ("P", bytes(range(0, 256, 4))),
    "transparent grey": ("L", 7),
    "transparent colour": ("RGB", (7, 7, 7)),
    "transparent black": ("1", 0),
}


@pytest.mark.parametrize(("mode", "transparency"), TRANSPARENT.values(), ids=TRANSPARENT)
def test_each_way_to_be_transparent(mode, transparency):
    array = np.concatenate([pixels(11, 17), pixels(11, 17, 1)[..., :1]], 2)
    array[2:5, 3:9, :3] = 7
    image = Image.fromarray(array)
    image = image.convert(mode) if mode != "P" else image.convert("RGB").quantize(64)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **({} if transparency is None else {"transparency": transparency}))
    expected = over_white(buffer.getvalue())
    assert (expected != np.asarray(image.convert("RGB"))).any()
    np.testing.assert_array_equal(decode_image(buffer.getvalue()), expected)


def test_a_comment_that_speaks_of_transparency_changes_nothing():
    array, text = pixels(11, 17), PngInfo()
    text.add_text("tRNS", "no tRNS here")
    np.testing.assert_array_equal(decode_image(encode(array, "PNG", pnginfo=text)), array)


def test_png_of_16_bits_keeps_the_high_byte_and_becomes_rgb():
    grey = np.random.default_rng(0).integers(0, 65536, (11, 17)).astype(np.uint16)
    expected = np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
    np.testing.assert_array_equal(decode_image(encode(grey, "PNG")), expected)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1"])
def test_other_png_modes_become_rgb(mode):
    data = encode(pixels(11, 17), "PNG", mode=mode)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode_image(data), expected)


@pytest.mark.parametrize("channels", [3, 4])
def test_png_of_16_bits_with_colours(channels):
    deep = np.random.default_rng(0).integers(0, 65536, (11, 17, channels)).astype(np.uint16)
    _, data = cv2.imencode(".png", deep)  # which takes blue first
    expected = over_white(data.tobytes())
    np.testing.assert_array_equal(decode_image(data.tobytes()), expected)


@pytest.mark.quick(4)
@pytest.mark.parametrize("data", [b"", b"not an image", *map(encode_other, OTHER_FORMATS)])
def test_what_is_neither_jpeg_nor_png_raises(data):
    for decode in (decode_image, tf.function(decode_image)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=NO_IMAGE):
            decode(tf.constant(data))


@pytest.mark.parametrize("data", [encode(pixels(20, 20))[:-200], encode(pixels(9, 9), "PNG")[:60]])
def test_what_is_no_whole_image_raises(data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(data)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_crop(tf.constant(data), lambda shape: tf.constant([0, 0, 1, 1]), whole=True)
