import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_distill import InputError, evaluation_batches
from keras_distill.data import pipeline, readable_images
from keras_distill.data.image_set import ImageSet, read_pictures
from keras_distill.embedding.batches import embed_batches
from keras_distill.embedding.bulk import NOT_FINITE, embed_readable, why_unnameable
from keras_distill.teachers.teacher import Teacher, as_teacher


@pytest.fixture
def images(tmp_path):
    noise = np.random.default_rng(0)
    (tmp_path / "a").mkdir()
    for number in range(9):
        pixels = noise.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a" / f"{number}.png")
    return read_pictures(tmp_path)


def test_each_bad_picture_costs_its_own_row(images, small_embedder):
    expected, _ = embed_batches(small_embedder(), evaluation_batches(images, image_size=32))
    (images.root / "a" / "2.png").write_bytes(b"nothing")
    (images.root / "a" / "5.png").unlink()
    (images.root / "a" / "8.png").rename(images.root / "a" / "line\nbreak.png")
    paths = images.paths.tolist()[:-1] + ["a/line\nbreak.png"]
    found = ImageSet(images.root, np.array(paths), images.labels, images.class_names)
    done = []
    rows = embed_readable(
        as_teacher(small_embedder()),
        found,
        dim=4,
        image_size=32,
        batch_size=4,
        on_rows=done.append,
    )
    kept = [0, 1, 3, 4, 6, 7]
    np.testing.assert_allclose(rows.vectors, expected[kept], atol=1e-6)
    assert rows.paths == images.paths[kept].tolist()
    assert rows.labels.tolist() == [0] * 6
    assert sum(done) == 9
    (bad, why), gone, unnamed = rows.errors
    assert (bad, why) == ("a/2.png", "it is neither a JPEG nor a PNG image")
    assert gone == ("a/5.png", "No such file or directory")
    assert unnamed == ("a/line\nbreak.png", "its name holds a line break")


def test_nothing_readable_gives_no_rows(images, small_embedder):
    for path in images.paths:
        (images.root / path).write_bytes(b"")
    rows = embed_readable(as_teacher(small_embedder()), images, dim=4, image_size=32)
    assert (rows.vectors.shape, len(rows.errors)) == ((0, 4), 9)


def test_a_picture_that_is_too_large_is_an_error(images, small_embedder, monkeypatch):
    Image.new("RGB", (50, 50), "white").save(images.root / "a" / "3.png")
    for module in (pipeline, readable_images):
        monkeypatch.setattr(module, "MAX_PIXELS", 2000)
    rows = embed_readable(as_teacher(small_embedder()), images, dim=4, image_size=32)
    assert rows.errors == [("a/3.png", "it has 2500 pixels, more than 2000")]


def test_vectors_that_are_not_finite_are_errors(images):
    Image.new("RGB", (40, 40), "white").save(images.root / "a" / "3.png")

    def lame(pixels):
        return 1 / (255 - tf.reduce_mean(tf.cast(pixels, tf.float32), [1, 2]))

    rows = embed_readable(Teacher(lame), images, dim=3, image_size=32, batch_size=2)
    assert rows.errors == [("a/3.png", NOT_FINITE)]
    assert (len(rows.paths), np.isfinite(rows.vectors).all()) == (8, True)
    white = images.select(np.array([3]))
    with pytest.raises(InputError, match="embeddings that are not finite"):
        embed_readable(Teacher(lame), white, dim=3, image_size=32)


def test_names():
    assert why_unnameable("a/ü b.jpg") == ""
    assert why_unnameable("a/\udcff.jpg") == "its name is not UTF-8"
    assert why_unnameable("a\r.jpg") == "its name holds a line break"
