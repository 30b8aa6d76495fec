import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.training.divergence_guard import TrainingDiverged
from keras_distill.training.recall_validation import VALIDATION_RECALL, RecallValidation

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 4, 20)


@pytest.fixture
def batches():
    return tf.data.Dataset.from_tensor_slices(({"image": IMAGES}, LABELS)).batch(8)


def naive_recall(embeddings):
    hits = 0
    for i, query in enumerate(embeddings):
        distances = [np.linalg.norm(query - other) for other in embeddings]
        distances[i] = np.inf
        hits += LABELS[np.argmin(distances)] == LABELS[i]
    return hits / len(embeddings)


def test_recall_of_the_present_weights(batches, small_embedder):
    student = small_embedder(image_size=8)
    validation = RecallValidation(student, batches, epochs=5)
    recalls = []
    for epoch in range(3):
        logs = {"loss": 1.0}
        validation.on_epoch_end(epoch, logs)
        assert logs.keys() == {"loss", "val_recall@1"}
        recalls.append(logs["val_recall@1"])
        expected = naive_recall(student(IMAGES, training=False).numpy())
        assert recalls[-1] == pytest.approx(expected)
        student.set_weights([np.flip(weight) for weight in student.get_weights()])
    assert len(set(recalls)) > 1


@pytest.mark.parametrize(
    ("epochs", "every", "expected"), [(5, 2, [1, 3, 4]), (4, 1, [0, 1, 2, 3]), (3, 9, [2])]
)
def test_every_so_many_epochs_and_the_last(epochs, every, expected, batches):
    image = keras.Input((8, 8, 3))
    student = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    validation = RecallValidation(student, batches, epochs, every)
    evaluated = []
    for epoch in range(epochs):
        logs = {}
        validation.on_epoch_end(epoch, logs)
        evaluated += [epoch] if VALIDATION_RECALL in logs else []
    assert evaluated == expected
    validation.on_epoch_end(0, None)


def test_later_callbacks_see_the_value(batches):
    image = keras.Input((8, 8, 3))
    student = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse")
    history = model.fit(
        np.ones((4, 1)),
        np.ones(4),
        epochs=9,
        callbacks=[
            RecallValidation(student, batches, epochs=9),
            keras.callbacks.EarlyStopping("val_recall@1", mode="max", patience=2),
        ],
        verbose=0,
    )
    assert history.epoch == [0, 1, 2]
    assert len(history.history["val_recall@1"]) == 3


def test_embeddings_that_are_not_finite(batches, small_embedder):
    student = small_embedder(image_size=8)
    student.set_weights([np.nan * weight for weight in student.get_weights()])
    with pytest.raises(TrainingDiverged, match=r"^In epoch 3, .*not finite"):
        RecallValidation(student, batches, epochs=5).on_epoch_end(2, {})
