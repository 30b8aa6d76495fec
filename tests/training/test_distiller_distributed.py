import json

import numpy as np
import pytest

CODE = """
import dataclasses
import importlib.util
import json

import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from keras_distill import Distiller, LayerwiseSGD
from keras_distill.losses.attention_maps import AttentionMaps
from keras_distill.losses.cross_batch_memory import CrossBatchMemory
from keras_distill.losses.hint import Hint
from keras_distill.losses.projector import Projector
from keras_distill.losses.registry import FEATURE_LOSSES, TASK_LOSSES, TEACHER_LOSSES
from keras_distill.losses.self_distillation import SelfDistillation
from keras_distill.losses.teacher_references import TeacherReferences
from keras_distill.models.fused_batch_norm import synchronize_batch_norm
from keras_distill.models.projection import build_projection
from keras_distill.methods.loss_scaling import CountingLossScale

random = np.random.default_rng(0)
ROWS, STEPS = 12, 10
images = random.integers(0, 256, (ROWS * STEPS, 6, 6, 3), dtype="uint8")
labels = np.tile([0, 0, 1, 1, 1, 2, -1, 2, 0, 3, 3, -1], STEPS)
weights = random.uniform(0.5, 1.5, ROWS * STEPS).astype("float32")
examples = tf.data.Dataset.from_tensor_slices((images, labels)).batch(ROWS)
weighted = tf.data.Dataset.from_tensor_slices((images, labels, weights)).batch(ROWS)
# Replicas with 5 and 4 rows, and with 2 and 1 in the end.
uneven = tf.data.Dataset.from_tensor_slices((images, labels, weights)).batch(9)
one = tf.distribute.get_strategy()
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def net(seed, batch_norm):
    keras.utils.set_random_seed(seed)
    image = keras.Input((6, 6, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    x = keras.layers.Conv2D(4, 3, activation="tanh", name="conv")(x)
    if batch_norm:
        x = keras.layers.BatchNormalization(momentum=0.5)(x)
    x = keras.layers.Dense(4)(keras.layers.Flatten()(x))
    return keras.Model(image, keras.layers.UnitNormalization()(x))


def task_loss(name, margin=None, **changed):
    entry = TASK_LOSSES[name]
    entry = dataclasses.replace(entry, fixed={**entry.fixed, **changed})
    return entry.build(classes=range(4), margin=margin)


def teacher_losses(*names):
    heads = {"teacher_head": {"kernel": np.eye(4, 3)}}
    return [TEACHER_LOSSES[name].load()(**heads.get(name, {})) for name in names]


def distilled(strategy, batch_norm=False, **settings):
    with strategy.scope():
        student, teacher = net(0, batch_norm), net(1, batch_norm)
        made = {name: make() for name, make in settings.items()}
        taught = "teacher_losses" in made or made["task_loss"].teacher is not None
        distiller = Distiller(student, teacher=teacher if taught else None, **made)
        if strategy is two:
            synchronize_batch_norm(distiller)
    return distiller


def value_and_gradient(strategy, batches, **settings):
    distiller = distilled(strategy, **settings)

    def step(data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x, y, sample_weight = distiller.prepare((x, y, sample_weight), training=False)
        with tf.GradientTape() as tape:
            y_pred = distiller(x, training=True)
            loss = distiller.compute_loss(x, y, y_pred, sample_weight)
        variables = [variable.value for variable in distiller.trainable_variables]
        gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
        context = tf.distribute.get_replica_context()
        return context.all_reduce("SUM", [loss, *gradients])

    data = next(iter(strategy.experimental_distribute_dataset(batches)))
    run = tf.function(lambda: strategy.run(step, args=(data,)))
    results = [strategy.experimental_local_results(each)[0] for each in run()]
    return [result.numpy().ravel().tolist() for result in results]


def apart(left, right):
    return float(max(np.abs(a - b).max() for a, b in zip(left, right)))


def train(strategy, optimizer, batches, **settings):
    distiller = distilled(strategy, **settings)
    before = distiller.get_weights()
    with strategy.scope():
        distiller.compile(optimizer())
    history = distiller.fit(batches, epochs=1, shuffle=False, verbose=0).history
    replicas = [
        [strategy.experimental_local_results(v.value)[i].numpy() for v in distiller.weights]
        for i in range(strategy.num_replicas_in_sync)
    ]
    optimizer = distiller.optimizer
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    counted = {
        "steps": inner.iterations,
        "skipped": getattr(optimizer, "skipped_steps", 0),
        "scale": getattr(optimizer, "dynamic_scale", 1),
    }
    return {
        **{name: int(keras.ops.convert_to_numpy(value)) for name, value in counted.items()},
        "norms": np.asarray(getattr(inner, "gradient_norms", [])).tolist(),
        "history": history,
        "moved": [apart([a], [b]) for a, b in zip(distiller.get_weights(), before)],
        "weights": [w.ravel().tolist() for w in distiller.get_weights()],
        "replicas_differ": apart(replicas[0], replicas[-1]),
    }
"""


@pytest.fixture
def measure(run_warm_python):
    return lambda code: json.loads(run_warm_python(CODE + code).splitlines()[-1])


LOSSES = """
pairs = [("conv", "conv")]
cases = {}
for name in TASK_LOSSES:
    if "tfa" not in name:
        cases[name] = (weighted, dict(task_loss=lambda name=name: task_loss(name)))
    elif importlib.util.find_spec("tensorflow_addons") is not None:
        cases[name] = (examples, dict(task_loss=lambda name=name: task_loss(name)))
for name in TEACHER_LOSSES:
    if name not in FEATURE_LOSSES:
        cases[name] = (weighted, dict(teacher_losses=lambda name=name: teacher_losses(name)))
cases["attention"] = (weighted, dict(teacher_losses=lambda: [AttentionMaps(pairs)]))
cases["references"] = (
    weighted,
    dict(task_loss=lambda: TeacherReferences(task_loss("batch_hard_triplet"), and_batch=True)),
)
cases["heads"] = (
    weighted,
    dict(
        task_loss=lambda: SelfDistillation(
            task_loss("arc_face", scale=8.0), [5], student_layer="conv"
        )
    ),
)
cases["projected"] = (
    weighted,
    dict(
        teacher_losses=lambda: teacher_losses("absolute", "cosine"),
        student_projection=lambda: build_projection(4, 4),
    ),
)
print(json.dumps({
    name: [value_and_gradient(strategy, batches, **settings) for strategy in (one, two)]
    for name, (batches, settings) in cases.items()
}))
"""


@pytest.mark.slow
def test_every_loss_and_its_gradient_are_those_of_one_device(measure):
    cases = measure(LOSSES)
    assert len(cases) >= 20
    for name, (alone, replicated) in cases.items():
        assert alone[0][0] > 0, name
        largest = max(np.abs(g).max() for g in alone[1:])
        assert largest > 1e-6, name
        for expected, found in zip(alone, replicated, strict=True):
            # A bias before the unit norm does not change distances: its gradient is rounding noise.
            atol = 1e-5 * max(np.abs(expected).max(), 0.1 * largest)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=atol, err_msg=name)


STEPS = """
settings = {
    "sgd": (
        lambda: keras.optimizers.SGD(0.05, momentum=0.9),
        dict(
            task_loss=lambda: CrossBatchMemory(task_loss("batch_hard_triplet"), size=30),
            teacher_losses=lambda: teacher_losses("absolute", "relative", "similarity"),
            student_projection=lambda: build_projection(4, 4),
        ),
    ),
    "adam": (
        lambda: keras.optimizers.Adam(0.01, epsilon=1e-3, weight_decay=0.01),
        dict(
            task_loss=lambda: task_loss("arc_face", scale=8.0),
            teacher_losses=lambda: teacher_losses("relative", "kde", "anchor_kl"),
        ),
    ),
    "rates of their own": (
        lambda: LayerwiseSGD(
            0.05, multipliers=[0.1, 0.1, 1.0, 1.0], momentum=0.9, weight_decay=0.05, use_ema=True
        ),
        dict(
            task_loss=lambda: task_loss("batch_hard_triplet"),
            teacher_losses=lambda: teacher_losses("absolute", "relative"),
        ),
    ),
    "clipped": (
        lambda: LayerwiseSGD(0.2, momentum=0.9, global_clipnorm=0.1, measure_gradients=True),
        dict(
            task_loss=lambda: task_loss("batch_hard_triplet", margin=0.5),
            teacher_losses=lambda: teacher_losses("absolute", "relative"),
        ),
    ),
    "synchronised": (
        lambda: keras.optimizers.SGD(0.05),
        dict(
            batch_norm=True,
            task_loss=lambda: task_loss("soft_triplet"),
            teacher_losses=lambda: [Hint([("conv", "conv")])],
        ),
    ),
}
settings["heads"] = (
    lambda: keras.optimizers.SGD(0.05),
    dict(
        task_loss=lambda: SelfDistillation(
            task_loss("batch_hard_triplet", margin=0.5), [5, 6], student_layer="conv"
        ),
        teacher_losses=lambda: [Projector()],
    ),
)
settings["references"] = (
    lambda: keras.optimizers.SGD(0.05),
    dict(task_loss=lambda: TeacherReferences(task_loss("batch_hard_triplet", margin=0.5))),
)
settings["uneven rows"] = (
    lambda: keras.optimizers.SGD(0.05),
    dict(
        task_loss=lambda: task_loss("batch_hard_triplet"),
        teacher_losses=lambda: [Hint([("conv", "conv")]), *teacher_losses("relative")],
    ),
)
print(json.dumps({
    name: [
        train(strategy, optimizer, uneven if "uneven" in name else weighted, **losses)
        for strategy in (one, two)
    ]
    for name, (optimizer, losses) in settings.items()
    if name in NAMES
}))
"""


@pytest.mark.parametrize(
    "names",
    [
        ["sgd", "clipped", "uneven rows"],
        pytest.param(
            ["adam", "rates of their own", "synchronised", "heads", "references"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_ten_steps_are_those_of_one_device(measure, names):
    measured = measure(f"NAMES = {names}\n{STEPS}")
    assert list(measured) == names
    for name, (alone, replicated) in measured.items():
        assert max(alone["moved"]) > 1e-2, name
        assert min(alone["moved"]) > 0, name  # class vectors, the memory and the anchors among them
        assert replicated["replicas_differ"] == 0, name
        for expected, found in zip(alone["weights"], replicated["weights"], strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5, err_msg=name)
        assert sorted(alone["history"]) == sorted(replicated["history"])
        for loss, values in alone["history"].items():
            # Keras weighs the batches of its total by the rows of a replica.
            rtol = 1e-2 if (name, loss) == ("uneven rows", "loss") else 1e-4
            np.testing.assert_allclose(replicated["history"][loss], values, rtol, err_msg=loss)
        if name == "clipped":
            assert alone["norms"][2] / 10 > 0.2, "nothing was clipped"
            np.testing.assert_allclose(replicated["norms"], alone["norms"], rtol=1e-3)


HALF = """
class Overflowing(keras.layers.Layer):
    \"\"\"Passes rows on, whose gradient is infinite where the image is marked in its corner.\"\"\"

    def call(self, rows, image):
        @tf.custom_gradient
        def identity(rows):
            marked = tf.cast(image[:, :1, 0, 0] == 255, rows.dtype)
            return tf.identity(rows), lambda gradient: gradient / (1 - marked)

        return identity(rows)


keras.config.set_dtype_policy("mixed_float16")
images[:, 0, 0, 0] = 0
images[7 * ROWS - 1, 0, 0, 0] = 255  # the last row of step 7, on the second replica
marked = tf.data.Dataset.from_tensor_slices((images, labels)).batch(ROWS)


def net(seed, batch_norm):
    keras.utils.set_random_seed(seed)
    image = keras.Input((6, 6, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    x = keras.layers.Conv2D(4, 3, activation="tanh", name="conv")(x)
    x = Overflowing()(keras.layers.Flatten()(x), image)
    x = keras.layers.Dense(4)(x)
    return keras.Model(image, keras.layers.UnitNormalization(dtype="float32")(x))


print(json.dumps([
    train(
        strategy,
        lambda: CountingLossScale(
            LayerwiseSGD(0.2, global_clipnorm=0.1, measure_gradients=True), initial_scale=256.0
        ),
        marked,
        task_loss=lambda: task_loss("batch_hard_triplet", margin=0.5),
        teacher_losses=lambda: teacher_losses("absolute", "relative"),
    )
    for strategy in (one, two)
]))
"""


@pytest.mark.slow
def test_clipped_steps_in_float16_and_an_overflow_on_one_of_two_replicas(measure):
    alone, replicated = measure(HALF)
    for trained in (alone, replicated):
        assert (trained["steps"], trained["skipped"], trained["scale"]) == (9, 1, 128)
        assert trained["norms"][1] == 9  # the gradients that were measured
        assert max(trained["moved"]) > 1e-2
        assert trained["norms"][2] / 9 > 0.2, "nothing was clipped"
    assert replicated["replicas_differ"] == 0
    np.testing.assert_allclose(replicated["norms"], alone["norms"], rtol=2e-2)
    for expected, found in zip(alone["weights"], replicated["weights"], strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-3)


EMPTY = """
distiller = distilled(two, teacher_losses=lambda: teacher_losses("relative"))
with two.scope():
    distiller.compile("sgd")
try:
    distiller.fit(examples.unbatch().batch(7), shuffle=False, verbose=0)  # 17 batches, and 1 row
except tf.errors.InvalidArgumentError as error:
    print(json.dumps(error.message))
"""


def test_a_replica_without_rows_is_named(measure):
    message = measure(EMPTY)
    assert "a training batch has no images for one of 2 replicas; give batches of at least 2" in (
        message
    )
