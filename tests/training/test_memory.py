import pytest

CODE = """
import gc, sys, tempfile
import keras
import tensorflow as tf

from keras_distill import BatchHardTriplet, Distiller, ResumableCallbacks
from keras_distill.training.collapse_monitor import CollapseMonitor
from keras_distill.training.recall_validation import RecallValidation

image = keras.Input((32, 32, 3), name="image")
x = keras.layers.Conv2D(16, 3, activation="relu")(image)
x = keras.layers.GlobalAveragePooling2D()(x)
student = keras.Model(image, keras.layers.UnitNormalization()(keras.layers.Dense(8)(x)))
distiller = Distiller(student, task_loss=BatchHardTriplet())
distiller.compile("adam")


def batch(step):
    labels = tf.repeat(tf.range(8, dtype=tf.int64), 8)
    images = tf.random.stateless_uniform([64, 32, 32, 3], [0, step], 0, 256, tf.int32)
    return tf.cast(images, tf.uint8), labels


resident = []


class Watch(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        gc.collect()
        with open("/proc/self/statm") as file:
            resident.append(int(file.read().split()[1]) * 4096 / 1e6)


held_out = tf.data.Dataset.range(2).map(lambda step: ({"image": batch(step)[0]}, batch(step)[1]))
epochs = 40
callbacks = ResumableCallbacks(
    [
        CollapseMonitor(64, say=lambda text: None),
        RecallValidation(held_out, student),
        Watch(),
    ],
    model=distiller,
    checkpoints=tempfile.mkdtemp(),
    epochs=epochs,
    steps_per_epoch=2,
    student=student,
)
batches = tf.data.Dataset.range(10**6).map(batch)
distiller.fit(batches, epochs=epochs, steps_per_epoch=2, callbacks=callbacks, verbose=0)
print(max(resident[30:]) - max(resident[10:20]))
"""


@pytest.mark.slow
def test_memory_is_flat_over_epochs(run_python):
    assert float(run_python(CODE)) < 8.0  # MB, in twenty epochs
