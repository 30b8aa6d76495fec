"""Losses that share a head, with two replicas, which must mean the same as on one device."""

import json

import numpy as np
import pytest

CODE = """
import json

import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from keras_distill import ContrastiveTeacher, LogitsTeacher, Supervised, TeacherHead

one = tf.distribute.get_strategy()
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
random = np.random.default_rng(0)
labels = np.arange(12) % 3
data = {
    "image": np.float32(random.normal(size=(12, 4))),
    "row": np.where(np.arange(12) == 7, -1, np.arange(12)),
    "teacher_embedding": np.float32(random.normal(size=(12, 5))),
    "teacher_logits": np.float32(random.normal(size=(12, 3))),
}
weights = np.float32(random.uniform(0.5, 2, 12))
kernel = np.float32(random.normal(size=(5, 3)))


def fitted(strategy):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        image = keras.Input((4,), name="image")
        embedding = keras.layers.Dense(5)(image)
        logits = keras.layers.Dense(3)(embedding)
        product = keras.Model(image, {"embedding": embedding, "logits": logits})
        losses = {
            "embedding": [
                TeacherHead(kernel), ContrastiveTeacher(labels, negatives=4, dim=3, teacher_dim=5)
            ],
            "logits": [LogitsTeacher()],
        }
        model = Supervised(
            product,
            {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
            teacher_losses=losses,
        )
        model.compile(keras.optimizers.SGD(0.01))
    batches = tf.data.Dataset.from_tensor_slices((data, labels, weights)).batch(6).repeat()
    history = model.fit(batches, steps_per_epoch=2, epochs=2, verbose=0).history
    weights_now = [np.array(weight).ravel().tolist() for weight in model.get_weights()]
    return {name: values[-1] for name, values in history.items()}, weights_now


print(json.dumps([fitted(one), fitted(two)]))
"""


@pytest.mark.slow
def test_two_replicas_train_as_one_device(run_python):
    (history, weights), (other_history, others) = json.loads(run_python(CODE).splitlines()[-1])
    assert history.keys() == {
        "loss",
        "logits",
        "logits_kd",
        "embedding_teacher_head",
        "embedding_crd",
    }
    for name, value in history.items():
        np.testing.assert_allclose(other_history[name], value, rtol=1e-4, err_msg=name)
    for one, other in zip(weights, others, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-5)
