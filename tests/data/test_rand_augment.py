import hashlib
import inspect

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_distill.data import rand_augment as module
from keras_distill.data.changed_views import change
from keras_distill.data.rand_augment import OPERATIONS, rand_augment

ALL = "randaugment:3:8,jitter,grey,cutout:0.4"


def picture(size=24, seed=0):
    """Blocks of random colours with noise: each operation shows."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(30, 220, (4, 4, 3)).repeat(size // 4, 0).repeat(size // 4, 1)
    return (blocks + rng.integers(-9, 10, (size, size, 3))).astype(np.uint8)


def seeds(count):
    return tf.stack(
        [tf.fill([count], tf.constant(7, tf.int64)), tf.range(count, dtype=tf.int64)], 1
    )


def enhanced(base, image, sign):
    """The distance from a base, scaled by 1.9 or 0.1; fractions are dropped."""
    base, image = np.float32(base), image.astype(np.float32)
    return np.clip(base + np.float32(1 + 0.9 * sign) * (image - base), 0, 255)


def equalized(channel):
    counts = np.bincount(channel.reshape(-1), minlength=256)
    step = (counts.sum() - counts[channel.max()]) // 255
    table = (step // 2 + np.cumsum(counts) - counts) // step
    return np.clip(table, 0, 255)[channel]


def luma(image):
    return (image @ np.array([19595, 38470, 7471]) + 2**15)[..., None] // 2**16


def smoothed(image):
    total = 4 * image[1:-1, 1:-1]
    for down in range(3):
        for across in range(3):
            total = total + image[down : len(image) - 2 + down, across : len(image) - 2 + across]
    smooth = image.copy()
    smooth[1:-1, 1:-1] = np.round(total / 13)
    return smooth


def sampled(image, place):
    """The nearest pixel of a place for each pixel's centre; grey outside."""
    found = np.full_like(image, 128)
    for y in range(len(image)):
        for x in range(len(image)):
            column, row = np.floor(place(x + 0.5, y + 0.5)).astype(int)
            if 0 <= row < len(image) and 0 <= column < len(image):
                found[y, x] = image[row, column]
    return found


def rotated(image, sign):
    half, cosine, sine = len(image) / 2, np.cos(np.pi / 6), sign * np.sin(np.pi / 6)

    def place(x, y):
        x, y = x - half, y - half
        return np.array([half + cosine * x - sine * y, half + sine * x + cosine * y])

    return sampled(image, place)


# Each operation at the greatest magnitude, on whole numbers.
NAIVE = {
    "identity": lambda image, sign: image,
    "autocontrast": lambda image, sign: np.stack(
        [(c - c.min()) * 255 // (c.max() - c.min()) for c in np.moveaxis(image, 2, 0)], 2
    ),
    "equalize": lambda image, sign: np.stack([equalized(c) for c in np.moveaxis(image, 2, 0)], 2),
    "rotate": rotated,
    "solarize": lambda image, sign: 255 - image,
    "colour": lambda image, sign: enhanced(luma(image), image, sign),
    "posterize": lambda image, sign: image // 16 * 16,
    "contrast": lambda image, sign: enhanced(int(luma(image).mean() + 0.5), image, sign),
    "brightness": lambda image, sign: enhanced(0, image, sign),
    "sharpness": lambda image, sign: enhanced(smoothed(image), image, sign),
    "shear_x": lambda image, sign: sampled(image, lambda x, y: np.array([x + sign * 0.3 * y, y])),
    "shear_y": lambda image, sign: sampled(image, lambda x, y: np.array([x, y + sign * 0.3 * x])),
    "translate_x": lambda image, sign: sampled(image, lambda x, y: np.array([x + sign * 11, y])),
    "translate_y": lambda image, sign: sampled(image, lambda x, y: np.array([x, y + sign * 11])),
}


def forced(monkeypatch, *draws):
    monkeypatch.setattr(
        tf.raw_ops, "StatelessRandomUniform", lambda shape, seed: tf.constant(draws, shape=shape)
    )


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("sign", [1, -1])
def test_operations_at_the_greatest_magnitude(name, sign, monkeypatch):
    forced(monkeypatch, ([*OPERATIONS].index(name) + 0.5) / 14, 0.25 if sign > 0 else 0.75)
    found = rand_augment(tf.constant(picture()), 1, 10.0, tf.constant([1, 2], tf.int64))
    assert found.dtype == tf.uint8
    expected = NAIVE[name](picture().astype(int), sign).astype(np.uint8)
    same = (found.numpy() == expected).all(-1)
    # Pillow rounds the places of a turned pixel, and sums in double precision.
    assert same.mean() > (
        0.99 if name in ("rotate", "shear_x", "shear_y", "autocontrast") else 1 - 1e-9
    )


def test_several_operations_follow_each_other(monkeypatch):
    solarize, posterize = (
        [*OPERATIONS].index(name) / 14 + 0.01 for name in ("solarize", "posterize")
    )
    forced(monkeypatch, solarize, 0.0, posterize, 0.9)
    image = picture()
    found = rand_augment(tf.constant(image), 2, 5.0, tf.constant([1, 2], tf.int64))
    np.testing.assert_array_equal(found, np.where(image < 128, image, 255 - image) // 4 * 4)


@pytest.mark.parametrize("name", [*OPERATIONS][3:])
def test_half_the_magnitude_is_half_as_far(name):
    image = Image.fromarray(picture())
    near, far = (np.asarray(OPERATIONS[name](image, share)).astype(int) for share in (0.5, 1.0))
    image = np.asarray(image).astype(int)
    assert 0 < np.abs(near - image).mean() < np.abs(far - image).mean()
    halves = {
        "solarize": np.where(image < 128, image, 255 - image),
        "posterize": image // 4 * 4,
        "translate_x": np.pad(image, [(0, 0), (0, 5), (0, 0)], constant_values=128)[:, 5:],
        "translate_y": np.pad(image, [(0, 5), (0, 0), (0, 0)], constant_values=128)[5:],
        "brightness": np.minimum(image * np.float32(1.45), 255).astype(int),
    }
    np.testing.assert_array_equal(near, halves.get(name, near))


def test_magnitude_0_leaves_the_image_to_operations_without_one():
    image = Image.fromarray(picture())
    for name, operation in OPERATIONS.items():
        if name not in ("autocontrast", "equalize"):
            np.testing.assert_array_equal(operation(image, 0.0), image)


@pytest.mark.slow
def test_operations_are_drawn_uniformly_and_independently(monkeypatch):
    drawn = []

    def numbered(number):
        def operation(image, share):
            drawn.append((number, share < 0))
            return image

        return operation

    monkeypatch.setattr(module, "OPERATIONS", {k: numbered(k) for k in range(14)})
    image = tf.constant(picture(4))
    augmented = tf.function(lambda seed: rand_augment(image, 2, 9.0, seed), autograph=False)
    for seed in seeds(1500):
        augmented(seed)
    numbers, backwards = np.array(drawn).reshape(1500, 2, 2).transpose(2, 0, 1)
    assert abs(np.bincount(numbers.reshape(-1)) - 3000 / 14).max() < 4 * np.sqrt(3000 / 14)
    assert abs(backwards.sum() - 1500) < 4 * np.sqrt(750)
    pairs = len(np.unique(14 * numbers[:, 0] + numbers[:, 1]))
    assert pairs > 185  # of 196, of which each is drawn 7.7 times on average


def everything(count=40):
    """All changes of one picture under many seeds, in a graph."""
    image = tf.constant(picture())
    changed = tf.function(lambda seed: change(image, ALL, seed), autograph=False)
    return np.stack([changed(seed) for seed in seeds(count)])


def test_any_graph_gives_the_same_bits():
    found, image = everything(), tf.constant(picture())
    assert len(np.unique(found.reshape(len(found), -1), axis=0)) == len(found)
    for index in (0, 17, 39):
        np.testing.assert_array_equal(change(image, ALL, seeds(40)[index]), found[index])
    changed = tf.autograph.experimental.do_not_convert(lambda seed: change(image, ALL, seed))
    mapped = tf.map_fn(changed, seeds(40), fn_output_signature=tf.uint8)
    np.testing.assert_array_equal(mapped, found)
    dataset = tf.data.Dataset.from_tensor_slices(seeds(40)).map(changed, num_parallel_calls=2)
    np.testing.assert_array_equal(np.stack(list(dataset.as_numpy_iterator())), found)


def test_a_fresh_process_gives_the_same_bits(run_warm_python):
    code = "".join(inspect.getsource(each) for each in (picture, seeds, everything))
    code = (
        "import hashlib, numpy as np, tensorflow as tf\n"
        "from keras_distill.data.changed_views import change\n"
        f"ALL = {ALL!r}\n{code}\nprint(hashlib.sha256(everything().tobytes()).hexdigest())"
    )
    assert run_warm_python(code).split() == [hashlib.sha256(everything().tobytes()).hexdigest()]


def test_a_teacher_of_another_size_sees_the_same_change():
    small, large = picture(), picture().repeat(2, 0).repeat(2, 1)
    for seed in seeds(25):
        one, other = (
            change(tf.constant(image), "randaugment:1:9,cutout:0.5", seed)
            for image in (small, large)
        )
        halved = other.numpy().reshape(24, 2, 24, 2, 3).mean((1, 3))
        assert np.abs(halved - one.numpy()).mean() < 8


def test_operations_come_first_then_colours_then_the_square():
    image, seed = tf.constant(picture()), tf.constant([3, 4], tf.int64)
    moved = change(image, "randaugment:1:9", seed)
    coloured = change(moved, "grey:1", seed)
    np.testing.assert_array_equal(
        change(image, "cutout:0.3,grey:1,randaugment:1:9", seed),
        change(coloured, "cutout:0.3", seed),
    )
    assert change(image, "", seed) is image
