import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

ROWS, CLASSES = 6, 5


@dataclass
class LabelCase:
    """A loss on labels, and the loops that it has to equal.

    Attributes:
        naive: From targets, outputs and row weights in float64 to the sum of the losses and what
            their mean divides by; `focus` are the outputs that the focusing weights are computed
            from, if they are constants in the gradient.
        targets: From a random generator and a number of rows to targets.
        outputs: Shape of the outputs of a row.
        types: Other types of the targets, which give the same loss.
    """

    loss_class: type
    naive: Callable
    targets: Callable
    arguments: dict = field(default_factory=dict)
    outputs: tuple = (CLASSES,)
    types: tuple = ("int32", "int64")
    reduction: str = "sum"

    @property
    def loss(self):
        return self.loss_class(**self.arguments, reduction=self.reduction)

    def batch(self, seed=0, rows=ROWS, scale=2.0):
        random = np.random.default_rng(seed)
        outputs = np.float32(random.normal(size=(rows, *self.outputs)) * scale)
        return self.targets(random, rows), outputs, random.uniform(0.5, 3, rows)

    def expected(self, targets, outputs, weights=None, **others):
        weights = np.ones(len(outputs)) if weights is None else weights
        total, count = self.naive(targets, np.float64(outputs), weights, **others)
        return total if self.reduction == "sum" else total / max(count, 1)


def evaluated(loss, targets, outputs, weights=None):
    outputs = tf.convert_to_tensor(outputs)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        value = loss(targets, outputs, weights)
    gradient = tape.gradient(value, outputs, unconnected_gradients="zero")
    return value.numpy(), np.float32(gradient.numpy())


def equals_loops(case):
    for seed, rows in ((0, 1), (1, 2), (2, 7), (3, 7)):
        targets, outputs, weights = case.batch(seed, rows)
        for given in (None, weights):
            value = case.loss(targets, outputs, given)
            np.testing.assert_allclose(
                value, case.expected(targets, outputs, given), rtol=2e-5, atol=1e-6
            )
            np.testing.assert_allclose(case.loss.batch_loss(targets, outputs, given), value)


def has_the_difference_quotient_as_gradient(case):
    targets, outputs, weights = case.batch()
    _, gradient = evaluated(case.loss, targets, outputs, weights)
    outputs = np.float64(outputs)
    expected = np.zeros_like(outputs)
    for index in np.ndindex(outputs.shape):
        step = np.zeros_like(outputs)
        step[index] = 1e-5
        up, down = (
            case.expected(targets, outputs + moved, weights, focus=outputs)
            for moved in (step, -step)
        )
        expected[index] = (up - down) / 2e-5
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


def takes_half_precision(case):
    targets, outputs, weights = case.batch()
    for dtype in ("float16", "bfloat16"):
        rounded = tf.cast(outputs, dtype)
        value, gradient = evaluated(case.loss, targets, rounded, weights)
        assert value.dtype == "float32"
        expected = case.expected(targets, np.float64(tf.cast(rounded, "float64")), weights)
        np.testing.assert_allclose(value, expected, rtol=2e-5)
        assert np.isfinite(gradient).all()


def takes_targets_of_any_type(case):
    targets, outputs, _ = case.batch()
    value, gradient = evaluated(case.loss, targets, outputs)
    for dtype in case.types:
        other, other_gradient = evaluated(case.loss, targets.astype(dtype), outputs)
        np.testing.assert_allclose(other, value, rtol=1e-5)
        np.testing.assert_allclose(other_gradient, gradient, rtol=1e-4, atol=1e-6)


def is_finite_for_large_outputs(case):
    targets, outputs, _ = case.batch()
    random = np.random.default_rng(1)
    for size, dtype in product((100.0, 50.0), ("float16", "bfloat16", "float32")):
        large = tf.cast(size * random.choice([-1.0, 1.0], outputs.shape), dtype)
        value, gradient = evaluated(case.loss, targets, large)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        np.testing.assert_allclose(value, case.expected(targets, large), rtol=1e-4, atol=1e-6)


def gives_rows_of_weight_zero_no_part(case):
    targets, outputs, _ = case.batch()
    more, others, _ = case.batch(seed=9, scale=30.0)
    weights = np.float32([1] * ROWS + [0] * ROWS)
    both, all_outputs = np.concatenate([targets, more]), np.concatenate([outputs, others])
    loss = case.loss_class(**case.arguments, reduction="sum")
    value, gradient = evaluated(loss, targets, outputs)
    padded, padded_gradient = evaluated(loss, both, all_outputs, weights)
    np.testing.assert_allclose(padded, value, rtol=1e-5)
    np.testing.assert_allclose(padded_gradient[:ROWS], gradient, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(padded_gradient[ROWS:], 0)
    value, gradient = evaluated(loss, targets, outputs, 0 * weights[:ROWS])
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def does_not_hide_nan(case):
    targets, outputs, _ = case.batch()
    assert np.isnan(case.loss(targets, np.full_like(outputs, np.nan)))


def compiles_for_any_batch_size(case, jit_compile):
    targets, outputs, _ = case.batch()
    compiled = tf.function(
        lambda *batch: value_and_gradient_in_graph(case.loss, *batch),
        jit_compile=jit_compile,
        input_signature=[
            tf.TensorSpec([None, *targets.shape[1:]], targets.dtype),
            tf.TensorSpec([None, *case.outputs]),
        ],
    )
    for rows in (3, 6):
        targets, outputs, _ = case.batch(rows=rows)
        value, gradient = evaluated(case.loss, targets, outputs)
        compiled_value, compiled_gradient = compiled(targets, outputs)
        np.testing.assert_allclose(compiled_value, value, rtol=1e-5)
        np.testing.assert_allclose(compiled_gradient, gradient, rtol=1e-3, atol=1e-5)


def value_and_gradient_in_graph(loss, targets, outputs):
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        value = loss(targets, outputs)
    return value, tape.gradient(value, outputs)


def has_a_config(case):
    loss = case.loss_class(**case.arguments, reduction=case.reduction, name="own")
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    assert serialized["registered_name"] == f"keras_distill>{case.loss_class.__name__}"
    copy = keras.saving.deserialize_keras_object(serialized)
    config = loss.get_config()
    assert type(copy) is case.loss_class
    assert copy.get_config() == config
    assert config.keys() == inspect.signature(case.loss_class).parameters.keys()
    assert (config["reduction"], config["name"]) == (case.reduction, "own")
    targets, outputs, _ = case.batch()
    assert copy(targets, outputs) == loss(targets, outputs)
    with pytest.raises(ValueError, match=r"`reduction='average'` is not one of 'sum', 'mean'\.$"):
        case.loss_class(**case.arguments, reduction="average")


def trains_a_plain_keras_model(case, tmp_path):
    targets, outputs, weights = case.batch(rows=8)
    inputs = keras.Input(case.outputs)
    layer = keras.layers.Dense(case.outputs[-1], kernel_initializer="identity")
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(1e-3), loss=case.loss)
    for given in (None, weights):
        value = model.evaluate(outputs, targets, sample_weight=given, batch_size=8, verbose=0)
        assert value == pytest.approx(case.expected(targets, outputs, given), rel=1e-4)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    history = loaded.fit(outputs, targets, epochs=5, batch_size=8, verbose=0).history["loss"]
    assert history[-1] < history[0] == pytest.approx(case.expected(targets, outputs), rel=1e-4)


CHECKS = [
    (equals_loops,),
    (has_the_difference_quotient_as_gradient,),
    (takes_half_precision,),
    (takes_targets_of_any_type,),
    (is_finite_for_large_outputs,),
    (gives_rows_of_weight_zero_no_part,),
    (does_not_hide_nan,),
    (compiles_for_any_batch_size, False),
    pytest.param((compiles_for_any_batch_size, True), marks=pytest.mark.slow),
    (has_a_config,),
]


@pytest.fixture
def golden():
    """Reads the arrays of a golden file by its name."""

    def read(name):
        with np.load(Path(__file__).parents[2] / "golden" / f"{name}.npz") as file:
            return dict(file)

    return read


def name_of_check(check):
    return "-".join([check[0].__name__, *map(str, check[1:])])


@pytest.fixture(params=CHECKS, ids=name_of_check)
def label_contract(request):
    """What a loss on labels must do, for both reductions; takes the rest of a `LabelCase`."""
    check, *arguments = request.param

    def run(loss_class, naive, targets, **others):
        for reduction in ("sum", "mean"):
            case = LabelCase(loss_class, naive, targets, **others, reduction=reduction)
            check(case, *arguments)

    return run


@pytest.fixture
def plain_keras_model(tmp_path):
    """Checks that a loss works in `compile`, `fit`, `evaluate` and a saved model; as above."""

    def run(loss_class, naive, targets, **others):
        case = LabelCase(loss_class, naive, targets, **others)
        trains_a_plain_keras_model(case, tmp_path)

    return run
