import io

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_distill.data.degradation_syntax import KINDS, parse_degradations
from keras_distill.data.image_degradation import degrade


def picture(size=48):
    """Smooth colours, hard edges and some noise."""
    y, x = np.mgrid[:size, :size]
    pixels = np.stack([4 * x, 3 * y + x, 200 - 3 * x], -1).astype(np.float64)
    pixels[size // 3 : size // 2, size // 4 :] = [250, 20, 60]
    pixels += np.random.default_rng(0).normal(0, 6, pixels.shape)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def degraded(pixels, text, seed=(1, 2)):
    found = degrade(tf.constant(pixels), parse_degradations(text), tf.constant(seed, tf.int64))
    assert found.dtype == tf.uint8
    assert found.shape == pixels.shape
    return found.numpy()


def luma(pixels):
    return np.asarray(Image.fromarray(pixels).convert("L"))


def test_nothing_asked_changes_nothing():
    np.testing.assert_array_equal(degraded(picture(), ""), picture())


@pytest.mark.parametrize("pixels", [1, 7, 16, 47])
def test_low_resolution(pixels):
    # Pillow's bilinear filter is antialiased where it shrinks.
    small = Image.fromarray(picture()).resize((pixels, pixels), Image.Resampling.BILINEAR)
    expected = np.asarray(small.resize((48, 48), Image.Resampling.BILINEAR))
    found = degraded(picture(), f"low_resolution:{pixels}")
    assert np.abs(found.astype(int) - expected).max() <= 2
    assert np.abs(found.astype(int) - picture()).mean() > 2


@pytest.mark.parametrize("quality", [1, 10, 60, 100])
def test_jpeg(quality):
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "jpeg", quality=quality)
    expected = np.asarray(Image.open(buffer)).astype(int)
    assert np.abs(degraded(picture(), f"jpeg:{quality}") - expected).max() <= 2


def test_a_lower_quality_is_further_from_the_picture():
    errors = [
        np.abs(degraded(picture(), f"jpeg:{quality}").astype(int) - picture()).mean()
        for quality in (90, 50, 20, 5)
    ]
    assert errors == sorted(errors)
    assert errors[0] < errors[-1]


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.7, 20.0])
def test_blur(sigma):
    width = 2 * int(4 * sigma + 0.5) + 1
    expected = cv2.GaussianBlur(
        picture().astype(np.float64), (width, width), sigma, borderType=cv2.BORDER_REPLICATE
    )
    assert np.abs(degraded(picture(), f"blur:{sigma}") - expected).max() < 0.51


def test_noise_has_its_deviation_and_is_clipped():
    grey = np.full((128, 128, 3), 128, np.uint8)
    error = degraded(grey, "noise:12").astype(int) - 128
    assert error.std() == pytest.approx(12, rel=0.03)
    assert abs(error.mean()) < 0.3
    correlation = np.corrcoef(error.reshape(-1, 3).T)
    assert np.abs(correlation - np.eye(3)).max() < 0.05
    black = degraded(np.zeros((128, 128, 3), np.uint8), "noise:12").astype(int)
    assert (black == 0).mean() == pytest.approx(0.52, abs=0.03)
    assert black.max() < 100


def test_grey():
    found = degraded(picture(), "grey")
    for channel in range(3):
        np.testing.assert_array_equal(found[..., channel], luma(picture()))
    white = np.full((4, 4, 3), 255, np.uint8)
    np.testing.assert_array_equal(degraded(white, "grey"), white)


def test_edges():
    grey = luma(picture()).astype(np.float64)
    down, across = (
        cv2.Sobel(grey, cv2.CV_64F, *axis, ksize=3, borderType=cv2.BORDER_REPLICATE)
        for axis in ((0, 1), (1, 0))
    )
    expected = np.clip(np.hypot(down, across) / 4, 0, 255)
    found = degraded(picture(), "edges")
    assert np.abs(found - expected[..., None]).max() < 0.51
    assert not degraded(np.full((16, 16, 3), 99, np.uint8), "edges").any()


def test_a_full_step_gives_a_full_edge():
    step = np.zeros((8, 8, 3), np.uint8)
    step[:, 4:] = 255
    found = degraded(step, "edges")
    assert (found[:, 3:5] == 255).all()
    assert not np.delete(found, [3, 4], axis=1).any()


def test_steps_are_applied_in_the_order_given():
    one, other = "low_resolution:12,jpeg:10", "jpeg:10,low_resolution:12"
    first = degraded(picture(), "low_resolution:12")
    np.testing.assert_array_equal(degraded(picture(), one), degraded(first, "jpeg:10"))
    assert (degraded(picture(), one) != degraded(picture(), other)).any()


def test_equal_seeds_give_equal_noise_and_others_do_not():
    seeds = [(1, 2), (2, 1), (1, 3), (2**40, 2), (-1, 2)]
    images = [degraded(picture(), "noise:20", seed) for seed in seeds]
    for seed, image in zip(seeds, images, strict=True):
        np.testing.assert_array_equal(degraded(picture(), "noise:20", seed), image)
    assert len({image.tobytes() for image in images}) == len(seeds)


def test_two_noises_differ_from_each_other():
    grey = np.full((96, 96, 3), 128, np.uint8)
    twice = degraded(grey, "noise:10,noise:10").astype(int) - 128
    assert twice.std() == pytest.approx(10 * 2**0.5, rel=0.03)  # not 20


@pytest.mark.parametrize("ratio", [2, 20, 60])
def test_jpeg2000_has_about_the_size_that_its_ratio_says(ratio):
    pixels = picture(128)
    found = degraded(pixels, f"jpeg2000:{ratio}")
    codes = cv2.imencode(".jp2", pixels, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000 // ratio])[1]
    other = cv2.imdecode(codes, cv2.IMREAD_COLOR).astype(int)
    assert cv2.PSNR(found, pixels) == pytest.approx(cv2.PSNR(np.uint8(other), pixels), abs=3)


def test_noise_of_colours_keeps_the_luma_and_that_of_high_frequency_the_mean():
    grey = np.full((96, 96, 3), 128, np.uint8)
    coloured = degraded(grey, "colour_noise:12").astype(float) - 128
    assert np.abs(coloured @ [0.299, 0.587, 0.114]).max() < 1
    assert coloured.std() > 5
    high = degraded(grey, "high_frequency_noise:12").astype(float) - 128
    white = degraded(grey, "noise:12").astype(float) - 128
    means = [np.abs(cv2.blur(noise, (5, 5))[4:-4, 4:-4]).mean() for noise in (high, white)]
    assert means[0] < 0.5 * means[1]
    assert high.std() == pytest.approx(12, rel=0.2)


def test_multiplicative_noise_grows_with_the_value():
    for value in (20, 100):
        grey = np.full((96, 96, 3), value, np.uint8)
        error = degraded(grey, "multiplicative_noise:0.1").astype(int) - value
        assert error.std() == pytest.approx(0.1 * value, rel=0.05)


def test_impulse_noise():
    grey = np.full((96, 96, 3), 128, np.uint8)
    found = degraded(grey, "impulse_noise:0.2")
    assert (found == found[..., :1]).all()
    for value in (0, 255):
        assert (found == value).mean() == pytest.approx(0.1, abs=0.02)
    assert set(np.unique(found)) == {0, 128, 255}


def test_denoised_has_less_noise_and_fewer_details():
    grey = np.full((96, 96, 3), 128, np.uint8)
    assert degraded(grey, "denoised:20").std() < 0.4 * degraded(grey, "noise:20").std()
    sharp = cv2.Laplacian(picture(), cv2.CV_64F).var()
    assert cv2.Laplacian(degraded(picture(), "denoised:0.1"), cv2.CV_64F).var() < 0.5 * sharp


def test_quantisation_and_dither_leave_few_colours():
    found = degraded(picture(), "quantisation:51")
    assert set(np.unique(found)) <= {25, 76, 127, 178, 229, 255}
    assert np.abs(found.astype(int) - picture()).max() <= 26
    np.testing.assert_array_equal(degraded(picture(), "quantisation:1"), picture())
    dithered = degraded(picture(), "dither:8")
    assert len(np.unique(dithered.reshape(-1, 3), axis=0)) <= 8
    assert np.abs(dithered.mean((0, 1)) - picture().mean((0, 1))).max() < 6


def test_displaced_blocks_are_moved_pixels():
    columns = np.zeros((96, 96, 3), np.uint8) + np.arange(96, dtype=np.uint8)[:, None]
    moved = degraded(columns, "displaced_blocks:3").astype(int) - columns
    assert 0 < (moved[..., 0] != 0).sum() <= 3 * 15 * 15
    assert np.abs(moved).max() <= 10
    shares = [
        (degraded(picture(96), f"displaced_blocks:{n}") != picture(96)).mean() for n in (3, 30, 99)
    ]
    assert shares == sorted(shares)


def test_coloured_blocks_have_one_colour_each():
    found = degraded(np.zeros((96, 96, 3), np.uint8), "coloured_blocks:1")
    covered = found.any(-1)
    assert covered.sum() == 32 * 32
    assert len(np.unique(found[covered], axis=0)) == 1
    more = degraded(np.zeros((96, 96, 3), np.uint8), "coloured_blocks:4")
    assert 32 * 32 < more.any(-1).sum() <= 4 * 32 * 32


def test_shifts_of_brightness_contrast_and_saturation():
    pixels = picture()
    values = pixels.astype(float)
    grey = (values @ [0.299, 0.587, 0.114])[..., None]
    for text, expected in (
        ("brighter:30", values + 30),
        ("darker:45", values - 45),
        ("more_contrast:1.5", 127.5 + 1.5 * (values - 127.5)),
        ("less_contrast:0.4", 127.5 + 0.4 * (values - 127.5)),
        ("less_saturation:0.6", grey + 0.4 * (values - grey)),
        ("less_saturation:1.8", grey - 0.8 * (values - grey)),
    ):
        found = degraded(pixels, text)
        assert np.abs(found - np.clip(expected, 0, 255)).max() < 0.51, text


def test_aberration_moves_red_and_blue_apart():
    line = np.zeros((9, 9, 3), np.uint8)
    line[:, 4] = 255
    found = degraded(line, "aberration:2")
    for channel, column in ((0, 6), (1, 4), (2, 2)):
        assert np.flatnonzero(found[0, :, channel]).tolist() == [column]


@pytest.mark.quick(5)
@pytest.mark.parametrize("name", sorted(KINDS))
def test_graph_and_eager_agree_and_small_images_pass(name):
    step = f"{name}:{max(KINDS[name].least, 1):g}" if KINDS[name].number else name
    compiled = tf.function(lambda image, seed: degrade(image, parse_degradations(step), seed))
    for size in (1, 2, 33):
        pixels = picture(max(size, 8))[:size, :size]
        found = compiled(tf.constant(pixels), tf.constant([1, 2], tf.int64))
        np.testing.assert_array_equal(found, degraded(pixels, step))
