"""A recipe of two stages by public pieces; `python two_stages.py RUN_DIR STAGE STEP` kills it."""

import os
import sys
from pathlib import Path

import keras
import tensorflow as tf

from keras_distill.distribution.replicas import open_replicas
from keras_distill.runs.continuation import continuation
from keras_distill.runs.directory import RunDirectory
from keras_distill.runs.stage import Stage, StageContext, Training, Validation
from keras_distill.settings.command import Command
from keras_distill.settings.training import TrainSettings
from keras_distill.training.loop import run_stages


class ErrorOnNewNumbers(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        x = tf.reshape(tf.linspace(-2.0, 2.0, 9), (9, 1))
        logs["val_error"] = float(tf.reduce_mean(tf.abs(self.model(x) - tf.sin(x))))


class Killed(keras.callbacks.Callback):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == self.step:
            os._exit(9)


def batches(first_step):
    def batch(step):
        x = tf.random.stateless_normal((8, 1), (0, step))
        return x, tf.sin(x)

    return tf.data.Dataset.range(first_step, 1000).map(batch)


def stages(kill=()):
    def build(name, context: StageContext) -> Training:
        if earlier := context.products.get("learn"):
            model = keras.models.load_model(earlier, compile=False)
        else:
            model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(4, "tanh")])
            model.add(keras.layers.Dense(1))
        model.compile(keras.optimizers.Adam(0.01 if earlier else 0.1), "mse")
        return Training(
            model=model,
            product=model,
            batches=batches,
            epochs=2,
            steps_per_epoch=5,
            batch_size=8,
            callbacks=[Killed(kill[1])] if kill and kill[0] == name else [],
            validation=Validation("val_error", ErrorOnNewNumbers(), direction="min"),
            provenance={"earlier": Path(earlier).name} if earlier else {},
        )

    return [Stage(name, lambda context, n=name: build(n, context)) for name in ("learn", "refine")]


def train(folder, kill=()):
    command = Command("two_stages", "", TrainSettings)
    settings = command.parse(["--checkpoint_steps=2", "--notensorboard", "--deterministic"])
    run = RunDirectory(folder, product="model.keras")
    resumes = continuation(run, settings) == "resume"
    text = command.text(settings)
    replicas = open_replicas("none", None)
    return run_stages(stages(kill), run, settings, replicas, flags_text=text, resumes=resumes)


if __name__ == "__main__":
    folder, *where = sys.argv[1:]
    sys.exit(train(folder, (where[0], int(where[1])) if where else ()))
