import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill import InputError, embed_batches
from keras_distill.teachers.teacher import Teacher


@pytest.fixture
def batches():
    """Ten images whose pixels all equal their number, in batches of four."""
    image = np.repeat(np.arange(10, dtype=np.uint8), 4 * 4 * 3).reshape(10, 4, 4, 3)
    x = {"image": image, "id": np.arange(10) * 7}
    return tf.data.Dataset.from_tensor_slices((x, np.arange(10) % 3)).batch(4)


def corner(image):
    return tf.cast(image[:, 0, 0, :2], tf.float32)


def test_rows_come_in_order_with_their_labels_and_the_last_partial_batch(batches):
    embeddings, labels = embed_batches(corner, batches)
    assert embeddings.dtype == np.float32
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(embeddings, np.stack([np.arange(10)] * 2, axis=1))
    np.testing.assert_array_equal(labels, np.arange(10) % 3)


def test_progress_counts_rows(batches):
    counts = []
    embed_batches(corner, batches, on_batch=counts.append)
    assert counts == [4, 4, 2]


def test_a_keras_model_runs_in_inference_mode_and_keeps_its_weights(batches):
    image = keras.Input((4, 4, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1.0)(image))
    x = keras.layers.Dropout(0.9, seed=0)(keras.layers.BatchNormalization()(x))
    model = keras.Model(image, x)
    model.set_weights([np.ones(3), np.zeros(3), np.full(3, 2.0), np.full(3, 4.0)])
    before = model.get_weights()
    embeddings, _ = embed_batches(model, batches)
    expected = (np.arange(10) - 2) / np.sqrt(4 + model.layers[-2].epsilon)
    np.testing.assert_allclose(embeddings, np.stack([expected] * 3, axis=1), rtol=1e-5)
    for value, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)
    again, _ = embed_batches(Teacher(lambda images: model(images, training=False)), batches)
    np.testing.assert_array_equal(again, embeddings)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_embeddings_that_are_not_finite_are_an_error(batches, value):
    def broken(image):
        return tf.where(corner(image) == 5, value, corner(image))

    with pytest.raises(InputError, match="not finite"):
        embed_batches(broken, batches)
