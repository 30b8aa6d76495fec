import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.evaluation.retrieval_metrics import retrieval_metrics
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.methods.distiller import Distiller
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
    validation = RecallValidation(batches, student)
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
    validation = RecallValidation(batches, student, every=every)
    validation.set_params({"epochs": epochs})
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
            RecallValidation(batches, student),
            keras.callbacks.EarlyStopping("val_recall@1", mode="max", patience=2),
        ],
        verbose=0,
    )
    assert history.epoch == [0, 1, 2]
    assert len(history.history["val_recall@1"]) == 3


@pytest.fixture
def distiller(small_embedder):
    distiller = Distiller(small_embedder(image_size=8), task_loss=BatchHardTriplet())
    distiller.compile(keras.optimizers.SGD(0.0))
    return distiller


@pytest.mark.parametrize("kind", ["dicts", "images", "arrays"])
def test_keras_callbacks_watch_the_students_recall(kind, batches, distiller, tmp_path):
    data = {
        "dicts": batches,
        "images": batches.map(lambda x, y: (x["image"], tf.cast(y, tf.int32))),
        "arrays": (IMAGES, LABELS),
    }[kind]
    history = distiller.fit(
        IMAGES,
        LABELS,
        epochs=5,
        callbacks=[
            RecallValidation(data),
            keras.callbacks.ModelCheckpoint(
                str(tmp_path / "{epoch}-{val_recall@1:.3f}.keras"),
                monitor="val_recall@1",
                mode="max",
                save_best_only=True,
            ),
            keras.callbacks.EarlyStopping("val_recall@1", mode="max", patience=1),
        ],
        verbose=0,
    )
    assert history.epoch == [0, 1]  # nothing was learned, so nothing got better
    expected = naive_recall(distiller.student(IMAGES, training=False).numpy())
    assert history.history["val_recall@1"][0] == pytest.approx(expected)
    (kept,) = tmp_path.iterdir()
    assert kept.name == f"1-{expected:.3f}.keras"


def test_a_model_that_is_trained_itself_and_images_without_labels(small_embedder):
    model = small_embedder(image_size=8)
    model.compile("sgd", loss=BatchHardTriplet())
    labels = np.where(np.arange(20) < 15, LABELS, -1)
    history = model.fit(
        IMAGES, LABELS, callbacks=[RecallValidation((IMAGES, labels))], verbose=0
    ).history
    embeddings = model(IMAGES[:15], training=False).numpy()
    expected = retrieval_metrics(embeddings, LABELS[:15]).recall[1]
    assert history["val_recall@1"] == [pytest.approx(expected)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (IMAGES, r"`data` must be batches \(images, labels\).* not a ndarray"),
        (tf.data.Dataset.from_tensor_slices(IMAGES), "`data` must be .* not batches of TensorSpec"),
        (tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)), r"labels of shape \(\).*batch the"),
        ((IMAGES, np.eye(4)[LABELS]), r"labels of shape \(None, 4\) where \(batch,\) is needed"),
        (
            tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(4).repeat(),
            "`data` is endless; give each held-out image once",
        ),
        ((IMAGES[:0], LABELS[:0]), "`data` is empty"),
    ],
)
def test_data_that_cannot_be_evaluated(data, message):
    with pytest.raises(InputError, match=message):
        RecallValidation(data)


def test_embeddings_that_are_not_finite(batches, small_embedder):
    student = small_embedder(image_size=8)
    student.set_weights([np.nan * weight for weight in student.get_weights()])
    with pytest.raises(TrainingDiverged, match=r"^In epoch 3, .*not finite"):
        RecallValidation(batches, student).on_epoch_end(2, {})
