import numpy as np

from keras_distill.serving.client.image_items import ImageItem
from keras_distill.serving.client.request_batches import batches


def item(index, data, signature="serving_default"):
    return ImageItem(index, f"item {index}", signature, data)


def indices(images, **limits):
    limits = {"size": 32, "most_bytes": 1000} | limits
    return [[image.index for image in batch] for batch in batches(images, **limits)]


def test_batches_have_at_most_so_many_images():
    images = [item(index, b"x") for index in range(7)]
    assert indices(images, size=3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert indices(images, size=1) == [[index] for index in range(7)]


def test_batches_have_at_most_so_many_bytes_but_one_image():
    images = [item(index, b"x" * size) for index, size in enumerate([4, 6, 1, 30, 5, 5, 5])]
    assert indices(images, most_bytes=10) == [[0, 1], [2], [3], [4, 5], [6]]


def test_signatures_and_shapes_do_not_mix():
    small, wide = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 4, 3), np.uint8)
    images = [
        item(0, b"x"),
        item(1, small, "serve_uint8"),
        item(2, wide, "serve_uint8"),
        item(3, small.astype(np.float32), "serve_float"),
        item(4, small, "serve_uint8"),
        item(5, b"y"),
    ]
    assert indices(images) == [[0, 5], [1, 4], [2], [3]]
    assert indices(images, size=2) == [[1, 4], [0, 5], [2], [3]]


def test_batches_come_as_soon_as_they_are_full():
    read = []

    def images():
        for index in range(100):
            read.append(index)
            yield item(index, b"x")

    next(batches(images(), size=4, most_bytes=1000))
    assert len(read) == 4
