import json
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill import InputError, ResumableCallbacks
from keras_distill.losses.absolute_teacher import AbsoluteTeacher
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.losses.cross_batch_memory import CrossBatchMemory
from keras_distill.losses.proxy_anchor import ProxyAnchor
from keras_distill.methods.distiller import Distiller
from keras_distill.methods.loss_scaling import CountingLossScale
from keras_distill.methods.method import LossTerm, Method
from keras_distill.runs.checkpoints import CheckpointFolder
from keras_distill.training.best_epoch import BestEpoch
from keras_distill.training.collapse_monitor import CollapseMonitor
from keras_distill.training.layerwise_optimizers import LayerwiseAdam
from keras_distill.training.stop_signals import StopSignals, TrainingInterrupted
from keras_distill.training.training_variables import OPTIMIZER, assign_variables, read_variables

EPOCHS, STEPS = 4, 3


class Killed(Exception):
    pass


class Before(keras.callbacks.Callback):
    """Does something before a step."""

    def __init__(self, step, act):
        super().__init__()
        self._step, self._act = step, act

    def on_epoch_begin(self, epoch, logs=None):
        self._first = epoch * STEPS

    def on_train_batch_begin(self, batch, logs=None):
        if self._first + batch == self._step:
            self._act()


def kill_after(step):
    def kill():
        raise Killed

    return Before(step, kill)


class Diary(keras.callbacks.Callback):
    """Writes down what callbacks are told, and keeps it as its state."""

    def __init__(self):
        super().__init__()
        self.told = []

    def on_train_batch_end(self, batch, logs=None):
        self.told.append([batch, dict(logs)])

    def on_epoch_end(self, epoch, logs=None):
        self.told.append([f"end {epoch}", dict(logs)])

    def get_state(self):
        return {"told": list(self.told), "count": np.array(len(self.told))}

    def set_state(self, state):
        assert state["count"] == len(state["told"])
        self.told = state["told"]


def embedder():
    keras.utils.set_random_seed(0)
    image = keras.Input((6,), name="image")
    x = keras.layers.Dense(8, activation="tanh")(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.2)(x)
    x = keras.layers.Dense(4)(x)
    return keras.Model(image, keras.layers.UnitNormalization(dtype="float32")(x))


def adam(**options):
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 12), **options)


RECIPES = {
    "memory": lambda: (CrossBatchMemory(BatchHardTriplet(0.5), 16), adam()),
    "proxies_and_average": lambda: (
        ProxyAnchor(np.arange(4)),
        adam(use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=5),
    ),
    "gradient_accumulation": lambda: (BatchHardTriplet(), adam(gradient_accumulation_steps=2)),
    "plain_rate": lambda: (BatchHardTriplet(), keras.optimizers.SGD(0.1, momentum=0.9)),
    "loss_scale": lambda: (
        BatchHardTriplet(),
        # Overflows until the scale has been halved often enough, and then now and again.
        CountingLossScale(adam(), initial_scale=2.0**18, dynamic_growth_steps=2),
    ),
}


def batches(first_step):
    def batch(step):
        labels = tf.repeat(tf.range(4, dtype=tf.int64), 2)
        noise = tf.random.stateless_normal([8, 6], tf.stack([step, 1]))
        return noise + tf.cast(labels[:, None], tf.float32), labels

    return tf.data.Dataset.range(first_step, 10**6).map(batch)


def watched():
    """A batch for the monitor to embed in inference mode."""
    return batches(0).take(1).map(lambda images, labels: ({"image": images}, labels))


def compiled(recipe="memory", **compiling):
    task_loss, optimizer = RECIPES[recipe]()
    distiller = Distiller(embedder(), task_loss=task_loss)
    # The graph of a step takes longer to trace than all steps take without one.
    distiller.compile(optimizer, **{"run_eagerly": True, **compiling})
    return distiller


def train(folder, distiller, *others, epochs=EPOCHS, watch=True, **options):
    """Trains, and returns the variables at the end and the diary."""
    diary = Diary()
    monitors = [CollapseMonitor(8, batches=watched())] if watch else []
    callbacks = ResumableCallbacks(
        [*monitors, diary, *others],
        model=distiller,
        checkpoints=folder,
        epochs=epochs,
        steps_per_epoch=STEPS,
        **{"every_steps": 1, **options},
    )
    distiller.fit(
        batches(callbacks.step),
        initial_epoch=callbacks.epoch,
        epochs=epochs,
        steps_per_epoch=STEPS,
        callbacks=callbacks,
        shuffle=False,
        verbose=0,
    )
    return read_variables(distiller), diary.told


def steps_of(folder):
    return sorted(checkpoint.step for checkpoint in CheckpointFolder(folder).all())


def assert_same(one, other):
    (variables, told), (expected, expected_told) = one, other
    assert variables.keys() == expected.keys()
    for name, value in variables.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert told == expected_told


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("policy", "recipe"),
    [
        ("float32", "memory"),
        ("mixed_float16", "loss_scale"),
        pytest.param("float32", "proxies_and_average", marks=pytest.mark.slow),
        pytest.param("float32", "gradient_accumulation", marks=pytest.mark.slow),
        pytest.param("bfloat16", "plain_rate", marks=pytest.mark.slow),
    ],
)
def test_a_training_that_is_killed_ends_as_if_it_had_not(policy, recipe, tmp_path, dtype_policy):
    dtype_policy(policy)
    expected = train(tmp_path / "through", compiled(recipe))
    for step in (2, 6, 7):
        with pytest.raises(Killed):
            train(tmp_path / "killed", compiled(recipe), kill_after(step))
        assert steps_of(tmp_path / "killed")[-1] == step
    assert_same(train(tmp_path / "killed", compiled(recipe)), expected)
    assert [entry[0] for entry in expected[1]] == [
        place for epoch in range(EPOCHS) for place in (*range(STEPS), f"end {epoch}")
    ]


def test_the_loss_scale_and_the_count_of_skipped_steps_are_put_back(tmp_path, dtype_policy):
    dtype_policy("mixed_float16")
    seen = []

    def trained_until_killed():
        distiller = compiled("loss_scale")

        def look():
            optimizer = distiller.optimizer
            values = optimizer.dynamic_scale, optimizer.step_counter, optimizer.skipped_steps
            seen.append([float(value) for value in values])

        with pytest.raises(Killed):
            train(tmp_path, distiller, Before(4, look), kill_after(4))

    trained_until_killed()
    trained_until_killed()
    kept, put_back = seen
    assert kept == [2.0**15, 1, 3]  # halved three times, and one step that was made since
    assert put_back == kept


@pytest.mark.slow
def test_steps_after_the_checkpoint_are_made_again(tmp_path):
    expected = train(tmp_path / "through", compiled())
    for every, kill in ((2, 5), (0, 8), (5, 11)):
        with pytest.raises(Killed):
            train(tmp_path / "killed", compiled(), kill_after(kill), every_steps=every)
    assert steps_of(tmp_path / "killed") == [9, 10]  # of epoch 3, and of 5 steps
    assert_same(train(tmp_path / "killed", compiled()), expected)


@pytest.mark.slow
def test_a_finished_training_is_not_trained_further_and_a_longer_one_goes_on(tmp_path):
    through = train(tmp_path / "through", compiled("plain_rate"), epochs=5)
    short = train(tmp_path / "longer", compiled("plain_rate"), epochs=3)
    again = train(tmp_path / "longer", compiled("plain_rate"), epochs=3)
    for name, value in again[0].items():
        if not name.startswith("metrics"):
            np.testing.assert_array_equal(value, short[0][name])
    assert again[1] == short[1]
    assert_same(train(tmp_path / "longer", compiled("plain_rate"), epochs=5), through)


@pytest.mark.slow
def test_several_steps_at_once(tmp_path):
    class KillInEpoch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations) == 6:
                raise Killed

    def fit(folder, *others):
        distiller = compiled("plain_rate", steps_per_execution=2, run_eagerly=False)
        callbacks = ResumableCallbacks(
            [Diary(), *others],
            model=distiller,
            checkpoints=folder,
            epochs=2,
            steps_per_epoch=6,
            every_steps=2,
        )
        distiller.fit(
            batches(callbacks.step),
            initial_epoch=callbacks.epoch,
            epochs=2,
            steps_per_epoch=6,
            callbacks=callbacks,
            verbose=0,
        )
        return read_variables(distiller), callbacks.callbacks[0].told

    expected = fit(tmp_path / "through")
    with pytest.raises(Killed):
        fit(tmp_path / "killed", KillInEpoch())
    assert steps_of(tmp_path / "killed") == [2, 4]
    assert_same(fit(tmp_path / "killed"), expected)
    with pytest.raises(
        ValueError, match=r"steps_per_epoch=3` must be a multiple of `steps_per_exec"
    ):
        train(tmp_path, compiled(steps_per_execution=2))


def test_other_steps_per_execution(tmp_path):
    def resume(steps):
        return ResumableCallbacks(
            [],
            model=compiled("plain_rate", steps_per_execution=steps, run_eagerly=False),
            checkpoints=tmp_path,
            epochs=2,
            steps_per_epoch=6,
        )

    callbacks = resume(1)
    callbacks.step = 3
    callbacks._save()
    with pytest.raises(InputError, match=r"steps_per_execution=2` cannot resume .*step-000003"):
        resume(2)
    assert resume(3).step == 3


@pytest.mark.slow
def test_a_projection_that_has_seen_no_batch_is_resumed(tmp_path):
    def projected():
        distiller = Distiller(
            embedder(),
            teacher=lambda images: images[:, :4],
            teacher_losses=[AbsoluteTeacher()],
            student_projection=keras.Sequential([keras.layers.Dense(4)]),
        )
        distiller.compile("sgd", run_eagerly=True)
        return distiller

    expected = train(tmp_path / "through", projected())
    with pytest.raises(Killed):
        train(tmp_path / "killed", projected(), kill_after(4))
    assert_same(train(tmp_path / "killed", projected()), expected)


class Rivals(Method):
    """An embedder against a critic, each with an optimiser of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedder, self.critic = embedder(), keras.Sequential([keras.layers.Dense(1)])
        self.critic.build((None, 4))
        self.track_losses(["difference"])
        self.built = True

    def compile(self, optimizer, critic_optimizer, **kwargs):
        super().compile(optimizer, **kwargs)
        self.critic_optimizer = critic_optimizer

    def get_product(self):
        return self.embedder

    @property
    def optimizers(self):
        return {"": self.optimizer, "critic": self.critic_optimizer}

    def variables_of(self, optimizer):
        return (self.critic if optimizer else self.embedder).trainable_variables

    def loss_terms(self, x, y, y_pred, sample_weight, training):
        verdict = self.critic(y_pred)[:, 0]
        difference = tf.reduce_mean(tf.abs(verdict - tf.cast(y, tf.float32)))
        return [LossTerm("difference", difference, rows=tf.shape(verdict)[0])]

    def train_step(self, data):
        x, y, _ = self.prepare(data, training=True)
        for name, sign in (("", 1.0), ("critic", -1.0)):
            with tf.GradientTape() as tape:
                loss = sign * self.compute_loss(x, y, self(x, training=True))
            variables = self.variables_of(name)
            gradients = tape.gradient(loss, [variable.value for variable in variables])
            self.optimizers[name].apply(gradients, variables)
        return self.get_metrics_result()


def rivals():
    model = Rivals()
    counting = LayerwiseAdam(0.05, count_updates=True)
    model.compile(adam(use_ema=True), counting, run_eagerly=True)
    return model


@pytest.mark.slow
def test_all_optimizers_of_a_method_are_resumed(tmp_path):
    def fit(folder, *others):
        model = rivals()
        return train(folder, model, *others, watch=False), model

    expected, model = fit(tmp_path / "through")
    variables = expected[0]
    for name, optimizer in model.optimizers.items():
        group = f"optimizer/{name}".rstrip("/")
        places = [key for key in variables if key.rpartition("/")[0] == group]
        assert len(places) == len(optimizer.variables)
        assert variables[f"{group}/0"] == EPOCHS * STEPS  # its iterations
    for step in (2, 6, 7):
        with pytest.raises(Killed):
            fit(tmp_path / "killed", kill_after(step))
    assert_same(fit(tmp_path / "killed")[0], expected)


def test_a_checkpoint_without_the_second_optimizer_is_refused(tmp_path):
    model = rivals()
    arrays = read_variables(model)
    one = {name: array for name, array in arrays.items() if "critic" not in name}
    with pytest.raises(InputError, match=r"of another model: .* such as 'optimizer/critic/0'"):
        assign_variables(model, one, OPTIMIZER)


def test_names_of_a_single_optimizer_are_those_of_older_checkpoints():
    distiller = compiled("plain_rate")
    names = read_variables(distiller)
    found = [name for name in names if name.startswith("optimizer")]
    assert found == [f"optimizer/{i}" for i in range(len(distiller.optimizer.variables))]


class Recall(keras.callbacks.Callback):
    def __init__(self, *values):
        super().__init__()
        self._values = values

    def on_epoch_end(self, epoch, logs=None):
        logs["recall"] = self._values[epoch]


def test_the_best_checkpoint_is_kept(tmp_path):
    distiller, best = compiled(), BestEpoch("recall")
    others = (Recall(0.5, 0.75, 0.625, 0.75), best)
    options = {"best": best, "student": distiller.student, "every_steps": 0}
    train(tmp_path, distiller, *others, **options)
    assert steps_of(tmp_path) == [6, 9, 12]
    assert (best.epoch, best.value) == (1, 0.75)
    student = keras.models.load_model(tmp_path / "step-000012" / "student.keras")
    x = np.ones((2, 6), np.float32)
    np.testing.assert_array_equal(student(x), distiller.student(x))
    newest = json.loads((tmp_path / "step-000012" / "state.json").read_text())
    assert newest["best_step"] == 6


def test_the_best_epoch_is_remembered(tmp_path):
    values = (0.5, 0.75, 0.625, 0.25)
    for kill in (7, 10):
        best = BestEpoch("recall")
        with pytest.raises(Killed):
            train(tmp_path, compiled(), Recall(*values), best, kill_after(kill), best=best)
    best = BestEpoch("recall")
    train(tmp_path, compiled(), Recall(*values), best, best=best)
    assert (best.epoch, best.value) == (1, 0.75)
    assert steps_of(tmp_path) == [6, 11, 12]


def test_a_training_that_a_callback_stopped_stays_so(tmp_path):
    class StopAt(keras.callbacks.Callback):
        def __init__(self, epoch):
            super().__init__()
            self._last = epoch

        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == self._last

    with pytest.raises(Killed):
        train(tmp_path, compiled(), StopAt(1), kill_after(5))  # in the epoch that will be cut
    _, told = train(tmp_path, compiled(), StopAt(1))
    assert told[-1][0] == "end 1"
    assert train(tmp_path, compiled())[1] == told


# In an epoch, and at its end.
@pytest.mark.parametrize("step", [pytest.param(4, marks=pytest.mark.slow), 6])
def test_a_signal_ends_the_training_after_its_step(step, tmp_path):
    def terminate():
        os.kill(os.getpid(), signal.SIGTERM)

    expected = train(tmp_path / "through", compiled())
    with StopSignals() as signals, pytest.raises(TrainingInterrupted) as ended:
        train(
            tmp_path / "run",
            compiled(),
            Before(step - 1, terminate),
            signals=signals,
            every_steps=0,
        )
    assert (ended.value.signal, ended.value.step) == (signal.SIGTERM, step)
    assert str(ended.value) == f"SIGTERM after step {step}"
    assert steps_of(tmp_path / "run")[-1] == step
    assert_same(train(tmp_path / "run", compiled()), expected)


class Late:
    """Signals that come just after they were looked at for the n-th time."""

    def __init__(self, looks):
        self._left = looks

    @property
    def received(self):
        self._left -= 1
        return signal.SIGTERM if self._left < 0 else None


def test_a_signal_after_an_epoch_without_a_checkpoint_loses_nothing(tmp_path):
    late = Late(STEPS)
    with pytest.raises(TrainingInterrupted) as ended:
        train(tmp_path, compiled("plain_rate"), signals=late, every_epochs=3, every_steps=0)
    assert steps_of(tmp_path) == [ended.value.step] == [STEPS + 1]


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, compiled(), kill_after(4), provenance={"images": "a"})
    with pytest.raises(
        InputError, match=r"^`images` differs from .*step-000004' .*: b, not a. Put b"
    ):
        train(tmp_path, compiled(), provenance={"images": "b"})
    with pytest.raises(InputError, match=r"of another model: \d+ variables are stored, and there"):
        train(tmp_path, compiled("proxies_and_average"), provenance={"images": "a"})
    distiller = compiled()
    callbacks = ResumableCallbacks(
        [],
        model=distiller,
        checkpoints=tmp_path,
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
        provenance={"images": "a"},
    )
    assert (callbacks.step, callbacks.epoch) == (4, 1)
    with pytest.raises(ValueError, match=r"fit began with epoch 0 instead of 1; give it initial_e"):
        distiller.fit(batches(0), epochs=1, steps_per_epoch=STEPS, callbacks=callbacks, verbose=0)
