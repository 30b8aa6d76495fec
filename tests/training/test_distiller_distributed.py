import json

CODE = """
import json

import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from keras_distill import AbsoluteTeacher, BatchHardTriplet, Distiller, RelativeTeacher

random = np.random.default_rng(0)
images = random.integers(0, 256, (32, 8, 8, 3), dtype="uint8")
batches = tf.data.Dataset.from_tensor_slices((images, np.arange(32) % 4)).batch(16)


def embedder(seed, batch_norm):
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 127.5, -1)(image))
    x = keras.layers.Dense(8, activation="tanh")(x)
    if batch_norm:
        x = keras.layers.BatchNormalization()(x)
    return keras.Model(image, keras.layers.UnitNormalization()(keras.layers.Dense(4)(x)))


def train(strategy, task_loss, *teacher_losses, batch_norm):
    with strategy.scope():
        distiller = Distiller(
            embedder(0, batch_norm),
            teacher=embedder(1, batch_norm),
            task_loss=task_loss,
            teacher_losses=teacher_losses,
        )
        distiller.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    history = distiller.fit(batches, epochs=2, shuffle=False, verbose=0).history
    return distiller.get_weights(), history


two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
one = tf.distribute.get_strategy()
expected, history = train(one, None, AbsoluteTeacher(), batch_norm=False)
weights, two_history = train(two, None, AbsoluteTeacher(), batch_norm=False)
moved = max(np.abs(w).max() for w in expected if w.ndim == 1)
apart = max(np.abs(w - e).max() for w, e in zip(weights, expected))
_, all_losses = train(
    two, BatchHardTriplet(0.2), AbsoluteTeacher(), RelativeTeacher(), batch_norm=True
)
print(json.dumps([two.num_replicas_in_sync, float(moved), float(apart)]))
print(json.dumps([history, two_history, all_losses]))
"""


def test_two_replicas(run_python):
    sizes, histories = map(json.loads, run_python(CODE).splitlines()[-2:])
    replicas, moved, apart = sizes
    assert replicas == 2
    # With the mean over rows, two replicas of 8 take the step of one of 16.
    assert apart < 1e-5 < 1e-3 < moved
    alone, mirrored, all_losses = histories
    for name in ("loss", "absolute"):
        for value, other in zip(alone[name], mirrored[name], strict=True):
            assert abs(value - other) < 1e-5 * value
    assert sorted(all_losses) == ["absolute", "loss", "relative", "triplet"]
    total = [sum(v) for v in zip(*(all_losses[k] for k in all_losses if k != "loss"), strict=True)]
    for value, expected in zip(all_losses["loss"], total, strict=True):
        assert abs(value - expected) < 1e-4 * expected
    assert all_losses["loss"][1] < all_losses["loss"][0]
