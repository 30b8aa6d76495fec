import colorsys

import numpy as np
import pytest
import tensorflow as tf

from keras_distill.data import view_colours
from keras_distill.data.view_colours import change_colours

LUMA = np.array([0.299, 0.587, 0.114])


def noise(seed=0, low=0, high=256):
    return np.random.default_rng(seed).integers(low, high, (6, 9, 3), dtype=np.uint8)


def seeds(count):
    return tf.stack(
        [tf.fill([count], tf.constant(7, tf.int64)), tf.range(count, dtype=tf.int64)], 1
    )


def change(image, augment, count):
    """The changes of one image under many seeds."""
    return tf.map_fn(
        tf.function(lambda seed: change_colours(tf.constant(image), augment, seed)),
        seeds(count),
        fn_output_signature=tf.uint8,
    ).numpy()


def fixed(monkeypatch, image, **factors):
    """The image under given factors, all of jitter's parts named here being at their most."""
    for name in ("BRIGHTNESS", "CONTRAST", "SATURATION", "HUE"):
        monkeypatch.setattr(view_colours, f"_{name}", factors.get(name.lower(), 0.0))

    def ones(shape, seed):
        return tf.constant([0.0, 1.0, 1.0, 1.0, 1.0, 1.0])

    monkeypatch.setattr(tf.raw_ops, "StatelessRandomUniform", ones)
    return change_colours(tf.constant(image), "jitter:1", tf.constant([1, 2], tf.int64)).numpy()


def test_without_changes_the_image_is_left_alone():
    image = tf.constant(noise())
    assert change_colours(image, "", tf.constant([1, 2], tf.int64)) is image


def test_an_image_that_is_not_drawn_keeps_each_pixel():
    image = noise(1)
    changed = change(image, "jitter:0.5", 60)
    kept = (changed == image).all((1, 2, 3))
    assert 15 < kept.sum() < 45
    assert np.abs(changed[~kept].astype(int) - image).max((1, 2, 3)).min() > 2


def test_equal_seeds_give_equal_changes_alone_and_in_a_batch():
    image = noise(2)
    changed = change(image, "jitter,grey", 20)
    for index in (0, 7, 19):
        alone = change_colours(tf.constant(image), "jitter,grey", seeds(20)[index])
        np.testing.assert_array_equal(alone, changed[index])
    assert len(np.unique(changed.reshape(20, -1), axis=0)) > 10


def test_share_of_grey_images():
    changed = change(noise(3), "grey:0.3", 300)
    grey = (changed == changed[..., :1]).all((1, 2, 3))
    assert 0.3 * 300 - 32 < grey.sum() < 0.3 * 300 + 32  # four standard deviations
    np.testing.assert_array_equal(changed[grey][0, ..., 0], np.round(noise(3) @ LUMA))


def test_share_of_jittered_images_and_their_brightness():
    """A grey image shows its brightness alone, uniform from 0.6 to 1.4."""
    image = np.full((4, 4, 3), 100, np.uint8)
    factors = change(image, "jitter:0.8", 400)[:, 0, 0, 0] / 100.0
    drawn = factors[factors != 1.0]
    assert 0.8 * 400 - 40 < len(drawn) < 0.8 * 400 + 32  # some are drawn to be 1
    assert 0.6 <= drawn.min() < 0.63
    assert 1.37 < drawn.max() <= 1.4
    quarters = np.histogram(drawn, 4, (0.6, 1.4))[0] / len(drawn)
    np.testing.assert_allclose(quarters, 0.25, atol=0.1)


def test_brightness_and_contrast(monkeypatch):
    image = noise(4, 60, 160)
    np.testing.assert_allclose(fixed(monkeypatch, image, brightness=0.25), image * 1.25, atol=0.501)
    mean = (image @ LUMA).mean()
    np.testing.assert_allclose(
        fixed(monkeypatch, image, contrast=0.25), mean + 1.25 * (image - mean), atol=0.51
    )
    both = fixed(monkeypatch, image, brightness=0.25, contrast=0.25)
    np.testing.assert_allclose(both, 1.25 * mean + 1.25 * (image * 1.25 - 1.25 * mean), atol=0.51)


def test_saturation_keeps_the_luma(monkeypatch):
    image = noise(5, 60, 160)
    luma = (image @ LUMA)[..., None]
    np.testing.assert_allclose(
        fixed(monkeypatch, image, saturation=0.5), luma + 1.5 * (image - luma), atol=0.51
    )


def test_hue_turns_in_the_yiq_space(monkeypatch):
    image = noise(6, 90, 140)
    changed = fixed(monkeypatch, image, hue=0.1) / 255.0
    for before, after in zip(image.reshape(-1, 3), changed.reshape(-1, 3), strict=True):
        y, i, q = colorsys.rgb_to_yiq(*before / 255.0)
        own = colorsys.rgb_to_yiq(*after)
        turned = (i + 1j * q) * np.exp(0.2j * np.pi)
        np.testing.assert_allclose(own, (y, turned.real, turned.imag), atol=0.008)


@pytest.mark.parametrize("value", [0, 255])
def test_what_exceeds_the_range_is_clipped(value):
    image = np.full((4, 4, 3), value, np.uint8)
    image[0] = 255 - value
    changed = change(image, "jitter:1", 40)
    assert changed.dtype == np.uint8
    assert changed[:, 0].mean() != pytest.approx(changed[:, 1].mean(), abs=60)
