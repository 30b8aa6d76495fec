"""Losses on labels with two replicas, which must mean the same as on one device."""

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

from keras_distill.distribution.global_batch import gather_replicas
from keras_distill.losses.registry import LABEL_LOSSES

one = tf.distribute.get_strategy()
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
random = np.random.default_rng(0)
ROWS, CLASSES, STEPS = 6, 5, 4
words = random.normal(size=(CLASSES, 3))
vectors = np.float32(random.normal(size=(ROWS * STEPS, 4)))
weights = np.float32(random.uniform(0.5, 2, ROWS * STEPS))
# Replicas with unequal numbers of rows that count.
classes = np.tile([0, 1, -1, 4, -1, -1], STEPS)
known = np.int8(random.choice([1, 0], (ROWS * STEPS, CLASSES)))
known[::ROWS] = 0
partly = np.int8(random.choice([1, 0, -1], (ROWS * STEPS, CLASSES)))
CASES = {
    "asymmetric": (known, {}),
    "asymmetric_softmax": (classes, {}),
    "partial_selective": (partly, {"likelihood_topk": 1}),
    "semantic_diversity": (known, {"word_vectors": words}),
}


def network(name):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((4,)), keras.layers.Dense(6 if "semantic" in name else CLASSES)]
    if "semantic" in name:
        layers.append(keras.layers.Reshape((2, 3)))
    return keras.Sequential(layers)


def loss_of(name, reduction, **others):
    return LABEL_LOSSES[name].load()(**{**CASES[name][1], **others}, reduction=reduction)


def value_and_gradient(strategy, name, loss, rows, gathers):
    with strategy.scope():
        model = network(name)
    targets = CASES[name][0]
    batches = tf.data.Dataset.from_tensor_slices((vectors, targets, weights)).batch(rows)
    data = next(iter(strategy.experimental_distribute_dataset(batches)))

    def step(data):
        x, y, weight = data
        with tf.GradientTape() as tape:
            if gathers:
                # What gathers adds up, which int8 cannot be.
                batch = gather_replicas((tf.cast(y, tf.int32), model(x), weight))
                value = loss.batch_loss(*batch) / strategy.num_replicas_in_sync
            else:
                value = loss(y, model(x), weight)
        gradients = tape.gradient(value, [v.value for v in model.trainable_variables])
        context = tf.distribute.get_replica_context()
        return context.all_reduce("SUM", [value, *gradients])

    run = tf.function(lambda: strategy.run(step, args=(data,)))
    results = [strategy.experimental_local_results(each)[0] for each in run()]
    return [result.numpy().ravel().tolist() for result in results]


def fitted(strategy, name, loss):
    with strategy.scope():
        model = network(name)
        model.compile(keras.optimizers.SGD(1e-2), loss=loss)
    data = tf.data.Dataset.from_tensor_slices((vectors, CASES[name][0], weights)).batch(ROWS)
    history = model.fit(data, epochs=1, verbose=0).history["loss"]
    evaluated = model.evaluate(data, verbose=0)
    return [history, [evaluated], *(w.ravel().tolist() for w in model.get_weights())]
"""


@pytest.fixture
def measure(run_warm_python):
    return lambda code: json.loads(run_warm_python(CODE + code).splitlines()[-1])


def assert_equal(cases):
    for name, (alone, replicated) in cases.items():
        assert np.abs(alone[0]).min() > 0, name
        for expected, found in zip(alone, replicated, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_the_parts_of_replicas_and_the_gathered_batch_give_the_loss_of_one_device(measure):
    """With equal and unequal replicas; the likely labels are of the whole batch if gathered."""
    cases = measure(
        """
apart = {"partial_selective": {"mode": "ignore_normalised"}}
print(json.dumps({
    f"{name} {reduction} {rows} {gathers}": [
        value_and_gradient(
            strategy,
            name,
            loss_of(name, reduction, **(apart.get(name, {}) if not gathers else {})),
            rows,
            gathers,
        )
        for strategy in (one, two)
    ]
    for name in CASES
    for reduction in ("sum", "mean")
    for rows in (6, 5)
    for gathers in (False, True)
}))
"""
    )
    assert len(cases) == 32
    assert_equal(cases)


@pytest.mark.slow
def test_fit_and_evaluate_of_a_plain_model_are_those_of_one_device(measure):
    cases = measure(
        """
print(json.dumps({
    f"{name} {reduction}": [
        fitted(
            strategy,
            name,
            loss_of(name, reduction, **({"mode": "negative"} if "partial" in name else {})),
        )
        for strategy in (one, two)
    ]
    for name in CASES
    for reduction in ("sum", "mean")
}))
"""
    )
    assert len(cases) == 8
    assert_equal(cases)


def test_likely_labels_are_of_the_replica_where_nothing_is_gathered(measure):
    alone, replicated, halves = measure(
        """
loss = loss_of("partial_selective", "sum")
values = [
    value_and_gradient(strategy, "partial_selective", loss, ROWS, False)[0]
    for strategy in (one, two)
]
model = network("partial_selective")
halves = sum(
    float(loss(partly[part], model(vectors[part]), weights[part]))
    for part in (slice(3), slice(3, 6))
)
print(json.dumps([*values, [halves]]))
"""
    )
    np.testing.assert_allclose(replicated, halves, rtol=1e-5)
    assert abs(alone[0] - replicated[0]) > 1e-3
