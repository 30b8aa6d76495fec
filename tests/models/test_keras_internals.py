"""On an upgrade of Keras: which of the private parts that are used have changed."""

import inspect
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_distill
from keras_distill.models.keras_internals import (
    EPOCH_ITERATOR,
    PRIVATE,
    LossScaleHooks,
    OptimizerHooks,
    TrainerHooks,
    all_layers,
    moving_averages,
    yields_for_ever,
)

PARTS = [(owner, name, parts[name]) for owner, parts in PRIVATE.items() for name in parts]
NAMES = {name for _, name, _ in PARTS}


def compiled(kind=keras.Model):
    image = keras.Input((2,))
    model = kind(image, keras.layers.Dense(1)(image))
    model.compile(keras.optimizers.Adam(use_ema=True), "mse", metrics=["mae"])
    model.optimizer.build(model.trainable_variables)
    return model


def objects():
    """Objects of the public classes, built."""
    model = compiled()
    return {
        "keras.layers.Layer": model.layers[-1],
        "keras.Model": model,
        "keras.optimizers.Optimizer": model.optimizer,
        "keras.optimizers.LossScaleOptimizer": keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD()
        ),
    }


@pytest.mark.parametrize(("owner", "name", "parameters"), PARTS)
def test_a_private_part_is_what_it_was(owner, name, parameters):
    said = f"Keras {keras.__version__} has changed {owner}.{name}: mend models/keras_internals.py"
    part = getattr(objects()[owner], name, said)
    assert part is not said, f"{said}; it is gone."
    if parameters is None:
        assert not inspect.ismethod(part), f"{said}; it is a method now."
        return
    assert inspect.ismethod(part), f"{said}; it is no method any more."
    found = tuple(inspect.signature(part).parameters)
    assert found == parameters, f"{said}; its parameters are {found}, not {parameters}."


def test_no_other_module_touches_one():
    uses = re.compile(rf"(?:\.|def )({'|'.join(NAMES)})\b")
    folder = Path(keras_distill.__file__).parent
    found = {
        f"{path.relative_to(folder)}: {match[1]}"
        for path in folder.rglob("*.py")
        if path.name != "keras_internals.py"
        for match in uses.finditer(path.read_text())
    }
    assert not found


def test_no_other_module_imports_what_is_private():
    folder = Path(keras_distill.__file__).parent
    found = {
        str(path.relative_to(folder))
        for path in folder.rglob("*.py")
        if re.search(r"^\s*(import|from) keras\.src", path.read_text(), re.MULTILINE)
    }
    assert not found


def calls_of(recorded, hooks, keras_class, *names):
    """A subclass that writes down which of its hooks Keras calls."""

    def recording(name):
        def call(self, *args):
            recorded.append(name)
            return getattr(super(subclass, self), name)(*args)

        return call

    subclass = type("Recording", (hooks, keras_class), {name: recording(name) for name in names})
    return subclass


@pytest.mark.parametrize("strategy", [False, True])
def test_keras_calls_the_hooks_of_an_optimizer(strategy):
    recorded = []
    names = ("update_variables", "decay_weights", "clip_gradients", "add_up_gradients")
    kind = calls_of(recorded, OptimizerHooks, keras.optimizers.Adam, *names)
    context = tf.distribute.OneDeviceStrategy("CPU:0") if strategy else tf.distribute.get_strategy()
    with context.scope():
        optimizer = kind(0.1, weight_decay=0.1, clipnorm=1.0)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(optimizer, "mse", run_eagerly=True)
    model.fit(np.ones((2, 2)), np.ones((2, 1)), verbose=0)
    assert set(recorded) == set(names)
    assert int(optimizer.steps) == 1
    assert optimizer.updated_variables == model.trainable_variables
    assert [optimizer.place_of(v) for v in model.trainable_variables] == [0, 1]


def test_keras_calls_the_hook_of_a_loss_scale():
    recorded = []
    kind = calls_of(recorded, LossScaleHooks, keras.optimizers.LossScaleOptimizer, "skip_step")
    optimizer = kind(keras.optimizers.SGD())
    variable = keras.Variable([1.0])
    optimizer.apply([keras.ops.convert_to_tensor([1.0])], [variable])
    assert not recorded
    scale = float(optimizer.dynamic_scale)
    optimizer.apply([keras.ops.convert_to_tensor([np.inf])], [variable])
    assert recorded == ["skip_step"]
    assert float(optimizer.dynamic_scale) == scale / 2


def test_keras_calls_the_hooks_of_a_model():
    recorded, names = [], ("build_before_fit", "compiles_by_xla")
    kind = calls_of(recorded, TrainerHooks, keras.Sequential, *names)
    model = kind([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    assert model.compiled_metrics_are_unbuilt
    assert model.own_strategy is None
    model.fit(np.ones((2, 2)), np.ones((2, 1)), verbose=0)
    assert not model.compiled_metrics_are_unbuilt
    assert set(recorded) == set(names)


@pytest.mark.parametrize(
    ("end", "steps", "expected"), [(2, None, False), (None, 3, False), (None, None, True)]
)
def test_batches_that_do_not_end(end, steps, expected):
    asked = []

    class Watching(TrainerHooks, keras.Sequential):
        def build_before_fit(self, iterator, data_batch):
            for name in EPOCH_ITERATOR:
                said = f"Keras {keras.__version__} has changed the iterator of fit: no {name} in"
                assert hasattr(iterator, name), f"{said} {dir(iterator)}"
            asked.append(yields_for_ever(iterator))
            raise InterruptedError

    model = Watching([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    batches = tf.data.Dataset.from_tensors((tf.ones([2, 1]), tf.ones([2, 1]))).repeat(end)
    with pytest.raises(InterruptedError):
        model.fit(batches, steps_per_epoch=steps, verbose=0)
    assert asked == [expected]
    assert not yields_for_ever(None)


def test_layers_within_models_count_once():
    inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="inner")])
    image = keras.Input((2,))
    model = keras.Model(image, keras.layers.Dense(1, name="outer")(inner(inner(image))))
    found = all_layers(model, include_self=False)
    assert all_layers(model) == [model, *found]
    assert [layer.name for layer in found].count("inner") == 1
    assert {"inner", "outer"} < {layer.name for layer in found}


def test_the_averages_of_an_optimizer():
    model = compiled()
    averages = moving_averages(model.optimizer)
    assert averages.keys() == {id(variable) for variable in model.trainable_variables}
    model.fit(np.ones((2, 2)), np.ones((2, 1)), verbose=0)
    for variable in model.trainable_variables:
        np.testing.assert_array_equal(averages[id(variable)], variable)  # after one step
