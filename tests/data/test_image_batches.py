import numpy as np
import pytest
import tensorflow as tf

from keras_distill.data.epoch_sampler import EpochSampler
from keras_distill.data.image_batches import image_batches
from keras_distill.data.image_set import read_folder
from keras_distill.errors import InputError


def test_each_image_comes_once_an_epoch_in_its_next_view():
    sampler = EpochSampler(10, batch_size=4, seed=3)
    rows, views = (
        np.concatenate(each)
        for each in zip(*(sampler.rows(step) for step in range(5)), strict=True)
    )
    assert views.tolist() == [0] * 10 + [1] * 10
    for epoch in (rows[:10], rows[10:]):
        assert sorted(epoch) == [*range(10)]
    assert rows[:10].tolist() != rows[10:].tolist()
    with pytest.raises(InputError, match="batch_size=0"):
        EpochSampler(10, batch_size=0)


@pytest.mark.slow
def test_batches_hold_labels_numbers_and_logits(photos):
    images = read_folder(photos)
    shuffled = images.select(np.random.default_rng(0).permutation(len(images)))

    def embedding(rows, views):
        return tf.cast(tf.stack([rows, views], 1), tf.float32)

    batches = image_batches(
        shuffled,
        image_size=16,
        batch_size=20,
        teacher_embedding=embedding,
        teacher_logits=lambda embeddings: 10 * embeddings,
    )
    seen = []
    for x, y in batches.take(3):
        assert x["image"].shape == (20, 16, 16, 3)
        np.testing.assert_array_equal(y, shuffled.labels[x["row"]])
        np.testing.assert_array_equal(x["id"], shuffled.ids[x["row"]])
        np.testing.assert_array_equal(x["teacher_embedding"][:, 0], x["row"])
        np.testing.assert_array_equal(x["teacher_logits"], 10 * x["teacher_embedding"])
        seen += x["row"].numpy().tolist()
    assert sorted(seen) == [*range(60)]
    first = next(iter(image_batches(shuffled, image_size=16, batch_size=20, first_step=2)))
    np.testing.assert_array_equal(first[0]["image"], x["image"])
    assert "teacher_logits" not in first[0]
