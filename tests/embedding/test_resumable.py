import numpy as np
import pytest
from PIL import Image

from keras_distill import InputError, evaluation_batches
from keras_distill.data import shard_store
from keras_distill.data.image_set import read_pictures
from keras_distill.embedding.batches import embed_batches
from keras_distill.embedding.resumable import embed_resumably
from keras_distill.teachers import embedder_fingerprint as embedder_fingerprint_module
from keras_distill.teachers.embedder_fingerprint import embedder_fingerprint
from keras_distill.teachers.teacher import Teacher, as_teacher


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_store, "_SHARD_ROWS", 4)
    noise = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(10):
        pixels = noise.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    return read_pictures(tmp_path / "photos")


@pytest.fixture
def counting(small_embedder):
    """An embedder that notes how many images it was asked about, and may fail."""
    model = small_embedder()

    class Counting(Teacher):
        asked = 0
        fail_after = 100

        def __call__(self, images, ids=None):
            if self.asked >= self.fail_after:
                raise KeyboardInterrupt
            self.asked += len(images)
            return super().__call__(images)

    return Counting(model, embedding_dim=4, image_size=32, fingerprint="counting")


def test_it_embeds_as_evaluation_does(images, small_embedder, tmp_path):
    model = small_embedder()
    done = []
    vectors = embed_resumably(
        as_teacher(model), images, tmp_path / "parts", image_size=32, on_rows=done.append
    )
    expected, _ = embed_batches(model, evaluation_batches(images, image_size=32))
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert vectors.dtype == np.float32
    assert sum(done) == 10


@pytest.mark.slow
def test_finished_work_is_kept_on_an_interruption(images, counting, tmp_path):
    whole = embed_resumably(counting, images, tmp_path / "other", image_size=32, batch_size=2)
    counting.asked, counting.fail_after = 0, 6
    with pytest.raises(KeyboardInterrupt):
        embed_resumably(counting, images, tmp_path / "parts", image_size=32, batch_size=2)
    counting.asked, counting.fail_after = 0, 100
    done = []
    again = embed_resumably(
        counting, images, tmp_path / "parts", image_size=32, on_rows=done.append
    )
    assert counting.asked == 6
    assert done == [4, 4, 2]
    np.testing.assert_allclose(again, whole, atol=1e-6)


@pytest.mark.slow
def test_other_images_or_another_model_start_again(images, counting, small_embedder, tmp_path):
    options = {"folder": tmp_path / "parts", "image_size": 32}
    embed_resumably(counting, images, **options)
    embed_resumably(counting, images, **options)
    assert counting.asked == 10
    embed_resumably(counting, images.select(np.arange(9)), **options)
    assert counting.asked == 19
    other = as_teacher(small_embedder(seed=1))
    vectors = embed_resumably(other, images, **options)
    expected, _ = embed_batches(other, evaluation_batches(images, image_size=32))
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_fingerprint_depends_on_the_model_the_size_and_the_views(small_embedder, monkeypatch):
    hashes = {
        embedder_fingerprint(as_teacher(small_embedder(seed=seed)), size)
        for seed in (0, 1)
        for size in (32, 40)
    }
    assert len(hashes) == 4
    assert embedder_fingerprint(as_teacher(small_embedder()), 32) in hashes
    monkeypatch.setattr(embedder_fingerprint_module, "VIEWS_VERSION", 99)
    assert embedder_fingerprint(as_teacher(small_embedder()), 32) not in hashes


def test_a_plain_function_is_refused(images, tmp_path):
    with pytest.raises(InputError, match="`embedder` cannot be told from another model"):
        embed_resumably(Teacher(lambda x: x[:, 0, 0]), images, tmp_path, image_size=32)
