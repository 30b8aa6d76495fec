import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.training.accuracy_validation import AccuracyValidation
from keras_distill.training.divergence_guard import TrainingDiverged

SCORES = np.float32([[3, 1, 0], [0, 2, 9], [1, 4, 2], [5, 0, 0]])
BATCHES = tf.data.Dataset.from_tensor_slices(({"image": SCORES}, np.zeros(4))).batch(3)


def model(factor=1.0):
    image = keras.Input((3,), name="image")
    return keras.Model(image, {"logits": keras.layers.Rescaling(factor)(image)})


def logged(epochs=4, labels=(0, 2, 0, 0), product=None, **options):
    callback = AccuracyValidation(BATCHES, np.array(labels), product or model(), **options)
    callback.set_params({"epochs": epochs})
    found = []
    for epoch in range(epochs):
        logs = {}
        callback.on_epoch_end(epoch, logs)
        found.append(logs.get("val_accuracy"))
    return found


def test_the_share_of_right_classes():
    assert logged(1) == [0.75]
    assert logged(1, labels=[1, 1, 2, 2]) == [0.0]


def test_some_epochs_and_the_last():
    prepared = []
    options = {"every": 3, "prepare": lambda: prepared.append(1), "common": lambda value: -value}
    assert logged(4, **options) == [None, None, -0.75, -0.75]
    assert len(prepared) == 2
    with pytest.raises(InputError, match="`every=0` must be at least 1"):
        logged(every=0)


def test_scores_that_are_not_finite():
    with pytest.raises(TrainingDiverged, match=r"^In epoch 1, .*not finite"):
        logged(1, product=model(float("nan")))
