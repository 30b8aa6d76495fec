import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import stats

from keras_distill.data.views import _window, centre_view, random_views

HEIGHT, WIDTH = 160, 240


def encode(array, file_format="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, file_format, **options)
    return buffer.getvalue()


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def coordinates():
    """Red is the column, green the row: a crop's pixels tell where it was cut."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.uint8)


def recovered_window(view):
    """Top, left, height, width and mirroring of the crop of `coordinates` that a view shows."""
    size = len(view)
    inner = slice(size // 4, size - size // 4)  # free of what resizing does at the border
    place = np.arange(size)[inner] + 0.5
    x_slope, x_start = np.polyfit(place, view[inner, inner, 0].mean(axis=0) + 0.5, 1)
    y_slope, y_start = np.polyfit(place, view[inner, inner, 1].mean(axis=1) + 0.5, 1)
    mirrored = x_slope < 0
    left = x_start + x_slope * size if mirrored else x_start
    return y_start, left, y_slope * size, abs(x_slope) * size, mirrored


def compiled_views(*sizes, **options):
    return tf.function(
        lambda data, seed: random_views(data, sizes, seed, **options),
        input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([2], tf.int64)],
    )


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(64, 64, 56), (96, 57, 32), (57, 96, 32), (301, 203, 40), (9, 200, 12), (4, 4, 3), (1, 1, 5)],
)
@pytest.mark.parametrize("larger", [1, 5])
def test_centre_view_is_the_resized_central_square(height, width, size, larger):
    array = noise(height, width)
    size *= larger
    side = max(int(np.round(min(height, width) * 224 / 256)), 1)
    top, left = (height - side) // 2, (width - side) // 2
    box = array[top : top + side, left : left + side]
    view = centre_view(encode(array), size).numpy()
    assert view.shape == (size, size, 3)
    assert view.dtype == np.uint8
    # Leaving out the antialiasing when enlarging changes at most how a half is rounded.
    antialiased = tf.image.resize(box, [size, size], antialias=True)
    np.testing.assert_allclose(view, antialiased, atol=0.51)
    by_pillow = np.asarray(Image.fromarray(box).resize((size, size), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(view.astype(int), by_pillow, atol=1)


def test_centre_view_of_a_jpeg_is_that_of_its_pixels():
    jpeg = encode(noise(50, 70), "JPEG", quality=80, subsampling="4:2:0")
    png = encode(np.asarray(Image.open(io.BytesIO(jpeg))))
    np.testing.assert_array_equal(centre_view(jpeg, 24), centre_view(png, 24))


def test_random_crops_keep_to_area_and_aspect_and_half_are_mirrored():
    views = compiled_views(256)
    data = encode(coordinates())
    found = np.array([recovered_window(views(data, [3, i])[0].numpy()) for i in range(150)])
    top, left, height, width, mirrored = found.T
    assert (top > -1).all()
    assert (left > -1).all()
    assert (top + height < HEIGHT + 1).all()
    assert (left + width < WIDTH + 1).all()
    share = height * width / (HEIGHT * WIDTH)
    aspect = width / height
    whole = share > 0.99
    assert whole.mean() < 0.2
    assert ((aspect > 0.73) & (aspect < 1.37))[~whole].all()
    assert share.min() > 0.075
    # They use the range: large and small crops, upright and flat ones, all places.
    assert share.min() < 0.15
    assert share[~whole].max() > 0.7
    assert aspect.min() < 0.8
    assert aspect[~whole].max() > 1.25
    assert np.corrcoef(top, HEIGHT - height)[0, 1] > 0.3
    assert 0.35 < mirrored.mean() < 0.65


def test_areas_and_places_are_drawn_uniformly_and_aspects_log_uniformly():
    # Of a square, any crop of up to 3/4 of the area fits, so that none of these is drawn again.
    side, least_area = 4096, 0.08

    def window(i):
        draws = tf.random.stateless_uniform([23], tf.stack([i, 5]))
        return _window(tf.constant([side, side]), draws, least_area)

    windows = tf.data.Dataset.range(2000).map(window).batch(2000).get_single_element().numpy()
    top, left, height, width = windows.astype(float).T
    area = height * width / side**2
    fits = area < 0.74
    assert fits.sum() > 1000
    draws = {
        "area": (area - least_area) / (0.74 - least_area),
        "aspect": np.log(width / height) / (2 * np.log(4 / 3)) + 0.5,
        "top": top / (side - height + 1),
        "left": left / (side - width + 1),
    }
    for name, values in draws.items():
        assert stats.kstest(values[fits], "uniform").pvalue > 0.01, name
    corner = np.stack([*draws.values()])[:, fits]
    assert np.abs(np.corrcoef(corner) - np.eye(4)).max() < 0.1


@pytest.mark.parametrize("least_area", [0.3, 0.7])
def test_the_least_area_of_a_crop(least_area):
    views = compiled_views(256, least_area=least_area)
    data = encode(coordinates())
    found = [recovered_window(views(data, [4, i])[0].numpy()) for i in range(40)]
    shares = np.array([height * width for _, _, height, width, _ in found]) / (HEIGHT * WIDTH)
    assert least_area - 0.02 < shares.min() < least_area + 0.15


@pytest.mark.slow
def test_all_sizes_show_the_same_crop():
    views = compiled_views(256, 64, 400)
    for seed in range(20):
        windows = [
            recovered_window(view.numpy()) for view in views(encode(coordinates()), [5, seed])
        ]
        np.testing.assert_allclose(windows[1], windows[0], atol=3)
        np.testing.assert_allclose(windows[2], windows[0], atol=3)
    large, small = compiled_views(40, 12)(encode(noise(30, 50)), [1, 1])
    np.testing.assert_array_equal(large, compiled_views(40)(encode(noise(30, 50)), [1, 1])[0])
    np.testing.assert_array_equal(small, compiled_views(12)(encode(noise(30, 50)), [1, 1])[0])


def test_equal_seeds_give_equal_views_and_other_seeds_others():
    data = encode(noise(40, 60), "JPEG")
    views = compiled_views(24)
    seeds = [(0, 0), (0, 1), (1, 0), (7, 2**62), (-3, 5)]
    first = [views(data, seed)[0].numpy() for seed in seeds]
    again = [views(data, seed)[0].numpy() for seed in reversed(seeds)]
    eager = [random_views(tf.constant(data), [24], tf.constant(s, tf.int64))[0] for s in seeds]
    np.testing.assert_array_equal(first, again[::-1])
    np.testing.assert_array_equal(first, eager)
    assert len({view.tobytes() for view in first}) == len(seeds)


@pytest.mark.parametrize(
    "options", [{"subsampling": "4:4:4"}, {"subsampling": "4:2:0"}, {"progressive": True}]
)
def test_jpeg_and_png_of_the_same_pixels_give_the_same_views(options):
    jpeg = encode(noise(61, 45), "JPEG", quality=80, **options)
    png = encode(np.asarray(Image.open(io.BytesIO(jpeg))))
    views = compiled_views(24)
    for seed in range(15):
        np.testing.assert_array_equal(views(jpeg, [2, seed]), views(png, [2, seed]))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (90, 1), (2, 3)])
def test_tiny_and_narrow_images_have_random_views(file_format, shape):
    array = np.full((*shape, 3), 90, np.uint8)
    for seed in range(5):
        (view,) = random_views(encode(array, file_format), [8], tf.constant([0, seed]))
        np.testing.assert_array_equal(view, np.full((8, 8, 3), 90))
