import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_distill.data.image_set import read_folder
from keras_distill.data.pipeline import training_batches
from keras_distill.data.pixel_cache import PixelCache

BATCHES = {"image_size": 16, "steps_per_epoch": 2, "classes_per_batch": 3, "images_per_class": 2}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for index in range(12):
        path = root / f"class{index % 4}" / f"{index}.{'png' if index < 4 else 'jpg'}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    return read_folder(root)


@pytest.fixture(scope="module")
def cache(images, tmp_path_factory):
    cache = PixelCache(images, tmp_path_factory.mktemp("cache"), image_size=16, views=2, seed=3)
    cache.fill(batch_size=5)
    return cache


def same(one, other):
    tf.nest.map_structure(np.testing.assert_array_equal, one, other)


@pytest.mark.quick(1)
@pytest.mark.parametrize("first_step", [0, 10_001])
def test_batches_are_the_same_to_the_last_pixel(images, cache, first_step):
    options = BATCHES | {"views": 2, "seed": 3, "first_step": first_step}
    decoded = list(training_batches(images, **options).take(5))
    cached = training_batches(images, cached_image=cache.lookup, **options)
    assert cached.element_spec[0]["image"].dtype == tf.uint8
    for one, other in zip(decoded, cached.take(5), strict=True):
        assert one[0].keys() == other[0].keys() == {"image", "id"}
        same(one, other)


@pytest.mark.slow
def test_with_answers_of_a_teacher(images, cache):
    options = BATCHES | {
        "views": 2,
        "seed": 3,
        "teacher_embedding": lambda rows, views: {"row": rows, "view": views},
    }
    decoded = training_batches(images, **options).take(5)
    cached = training_batches(images, cached_image=cache.lookup, **options).take(5)
    for one, other in zip(decoded, cached, strict=True):
        assert other[0].keys() == {"image", "id", "teacher_embedding"}
        same(one, other)


def test_nothing_is_decoded(images, cache, tmp_path):
    gone = read_folder(images.root)
    object.__setattr__(gone, "root", tmp_path / "gone")
    options = BATCHES | {"views": 2, "seed": 3}
    cached = training_batches(gone, cached_image=cache.lookup, **options)
    for one, other in zip(training_batches(images, **options).take(3), cached.take(3), strict=True):
        same(one, other)


def test_holds_no_image_for_a_teacher(images, cache):
    with pytest.raises(ValueError, match="`cached_image` holds no teacher_image"):
        training_batches(
            images, **BATCHES, cached_image=cache.lookup, teacher_image_size=24, views=2
        )


@pytest.mark.slow
def test_cached_images_are_degraded_like_decoded_ones(images, cache):
    options = BATCHES | {"views": 2, "seed": 3, "degrade": "blur:1,noise:20,jpeg:30"}
    decoded = training_batches(images, **options).take(4)
    cached = training_batches(images, cached_image=cache.lookup, **options)
    assert {"image", "id", "teacher_image"} == cached.element_spec[0].keys()
    assert cached.element_spec[0]["image"].shape[1:] == (16, 16, 3)
    for one, other in zip(decoded, cached.take(4), strict=True):
        same(one, other)


def test_what_decides_the_pixels_names_the_folder(images, tmp_path):
    caches = [
        PixelCache(images, tmp_path, image_size=16),
        PixelCache(images, tmp_path, image_size=17),
        PixelCache(images, tmp_path, image_size=16, seed=1),
        PixelCache(images, tmp_path, image_size=16, least_area=0.5),
        PixelCache(images.select(np.arange(11)), tmp_path, image_size=16),
    ]
    assert len({cache.folder for cache in caches}) == len(caches)
    assert PixelCache(images, tmp_path, image_size=16, views=3).folder == caches[0].folder


def test_it_takes_a_byte_for_each_value(cache):
    assert cache.nbytes() == 12 * 2 * 16 * 16 * 3
    assert cache.lookup(tf.constant([1], tf.int64), tf.constant([9], tf.int64)).dtype == tf.uint8
