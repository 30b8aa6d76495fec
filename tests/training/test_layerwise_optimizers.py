import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.methods.distiller import Distiller
from keras_distill.training.layerwise_optimizers import (
    LayerwiseAdam,
    LayerwiseSGD,
    multipliers_by_variable,
)

ADAM = {"weight_decay": 0.05}
SGD = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.05}
RATE = keras.optimizers.schedules.ExponentialDecay(0.2, 3, 0.5)
GRADIENTS = np.random.default_rng(0).normal(size=(8, 2, 3)).astype(np.float32)


def pair():
    return [keras.Variable(np.full(3, value, np.float32)) for value in (1.0, 2.0)]


def run(optimizer, variables, gradients):
    for each in gradients:
        optimizer.apply(list(each), variables)
    return [variable.numpy() for variable in variables]


def scaled(factor):
    return keras.optimizers.schedules.ExponentialDecay(0.2 * factor, 3, 0.5)


@pytest.mark.parametrize(
    ("rated", "plain", "options"),
    [
        (LayerwiseAdam, keras.optimizers.Adam, ADAM),
        (LayerwiseAdam, keras.optimizers.Adam, {"amsgrad": True}),
        (LayerwiseSGD, keras.optimizers.SGD, SGD),
    ],
)
def test_as_two_optimizers(rated, plain, options):
    together = run(rated(RATE, multipliers=[0.1, 1.0], **options), pair(), GRADIENTS)
    for place, factor in enumerate((0.1, 1.0)):
        alone = run(plain(scaled(factor), **options), [pair()[place]], GRADIENTS[:, [place]])
        np.testing.assert_allclose(together[place], alone[0], rtol=2e-6)


@pytest.mark.parametrize("multipliers", [None, [0.5, 1.0, 1.0, 2.0]])
def test_decay_of_matrices_alone(multipliers):
    shapes = [(2, 3), (3,), (), (1, 1, 2, 3)]
    variables = [keras.Variable(np.ones(shape, np.float32)) for shape in shapes]
    optimizer = LayerwiseAdam(
        0.5, weight_decay=0.1, decay_matrices_only=True, multipliers=multipliers
    )
    optimizer = LayerwiseAdam.from_config(optimizer.get_config())
    optimizer.apply([keras.ops.zeros(shape) for shape in shapes], variables)
    factors = multipliers or [1.0] * 4
    for variable, factor, decayed in zip(variables, factors, [1, 0, 0, 1], strict=True):
        np.testing.assert_allclose(variable, 1 - 0.05 * factor * decayed, rtol=1e-6)


def test_without_options_it_is_the_optimizer_itself():
    ours = run(LayerwiseAdam(RATE, measure_gradients=True, **ADAM), pair(), GRADIENTS)
    theirs = run(keras.optimizers.Adam(RATE, **ADAM), pair(), GRADIENTS)
    np.testing.assert_array_equal(ours, theirs)


def test_a_variable_that_begins_later_is_corrected_from_its_first_step():
    late, both = 5, pair()
    optimizer = LayerwiseAdam(0.1, count_updates=True)
    optimizer.build(both)
    run(optimizer, both[1:], GRADIENTS[:late, 1:])
    run(optimizer, both, GRADIENTS[late:])
    alone = run(keras.optimizers.Adam(0.1), pair()[:1], GRADIENTS[late:, :1])
    np.testing.assert_array_equal(both[0].numpy(), alone[0])
    throughout = run(keras.optimizers.Adam(0.1), pair()[1:], GRADIENTS[:, 1:])
    np.testing.assert_array_equal(both[1].numpy(), throughout[0])
    assert int(optimizer.iterations) == len(GRADIENTS)


def test_accumulated_steps_count_as_one_update():
    late, both = 4, pair()
    options = {"gradient_accumulation_steps": 2}
    optimizer = LayerwiseAdam(0.1, count_updates=True, **options)
    optimizer.build(both)
    run(optimizer, both[1:], GRADIENTS[:late, 1:])
    run(optimizer, both, GRADIENTS[late:])
    adam = keras.optimizers.Adam
    throughout = run(adam(0.1, **options), pair()[1:], GRADIENTS[:, 1:])
    np.testing.assert_array_equal(both[1].numpy(), throughout[0])
    alone = run(adam(0.1, **options), pair()[:1], GRADIENTS[late:, :1])
    np.testing.assert_array_equal(both[0].numpy(), alone[0])
    assert int(optimizer.iterations) == len(GRADIENTS) // 2


def test_steps_that_loss_scaling_passes_over_do_not_count():
    frozen, trained = pair()
    inner = LayerwiseAdam(0.1, count_updates=True)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=1.0)
    optimizer.build([frozen, trained])
    for gradient in (np.inf, np.inf, 1.0):
        optimizer.apply([np.full(3, gradient, np.float32)], [trained])
    scale = float(optimizer.dynamic_scale)
    optimizer.apply(list(scale * GRADIENTS[0]), [frozen, trained])
    alone = run(keras.optimizers.Adam(0.1), pair()[:1], GRADIENTS[:1, :1])
    np.testing.assert_allclose(frozen, alone[0], rtol=1e-6)


def test_gradient_norms_are_those_before_clipping():
    optimizer = LayerwiseSGD(1.0, global_clipnorm=0.5, measure_gradients=True)
    variables = pair()
    before = np.stack([variable.numpy() for variable in variables])
    after = run(optimizer, variables, GRADIENTS[:1])
    assert np.linalg.norm(before - after) == pytest.approx(0.5, rel=1e-5)
    run(optimizer, variables, GRADIENTS[1:])
    norms = [np.linalg.norm(each) for each in GRADIENTS]
    expected = [norms[-1], len(norms), sum(norms), max(norms)]
    np.testing.assert_allclose(optimizer.gradient_norms, expected, rtol=1e-5)


def test_what_is_not_asked_for_is_not_there():
    optimizer = LayerwiseAdam(0.1)
    optimizer.build(pair())
    assert len(optimizer.variables) == len(keras.optimizers.Adam(0.1).variables) + 4
    assert not hasattr(optimizer, "gradient_norms")


def test_a_list_of_another_model_is_refused():
    with pytest.raises(
        ValueError, match=r"^`multipliers` has 3 values for 2 trainable variables; make them"
    ):
        LayerwiseAdam(0.1, multipliers=[1, 1, 1]).build(pair())


def distiller(small_embedder, optimizer=LayerwiseAdam, jit_compile=False, **options):
    student = small_embedder(image_size=8)
    model = Distiller(student, task_loss=BatchHardTriplet(0.5))
    rates = multipliers_by_variable(model, {student.layers[2]: 0.1}, 1.0)
    model.compile(optimizer(0.01, multipliers=rates, **options), jit_compile=jit_compile)
    return model


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8), np.arange(8) // 2


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_in_fit_of_a_distiller(small_embedder, batch, dtype_policy, policy, jit_compile):
    dtype_policy(policy)
    model = distiller(
        small_embedder, LayerwiseSGD, jit_compile, weight_decay=0.1, measure_gradients=True
    )
    student = model.student
    before = [variable.numpy() for variable in student.trainable_variables]
    with tf.GradientTape() as tape:
        loss = model.task_loss(batch[1], student(batch[0], training=True))
    gradients = [gradient.numpy() for gradient in tape.gradient(loss, student.trainable_variables)]
    model.fit(*batch, batch_size=8, verbose=0)
    backbone = {id(variable) for variable in student.layers[2].trainable_variables}
    for variable, old, gradient in zip(student.trainable_variables, before, gradients, strict=True):
        rate = 0.01 * (0.1 if id(variable) in backbone else 1.0)
        expected = old * (1 - 0.1 * rate) - rate * gradient
        tolerance = 1e-6 if policy == "float32" else 3e-2 * rate
        np.testing.assert_allclose(variable, expected, atol=tolerance)
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    norm = np.sqrt(sum(np.sum(np.square(gradient)) for gradient in gradients))
    measured = float(inner.gradient_norms.numpy()[0])
    assert measured == pytest.approx(norm, rel=1e-4 if policy == "float32" else 0.02)


def test_a_saved_model_goes_on_as_it_was(small_embedder, batch, tmp_path):
    model = distiller(small_embedder, weight_decay=0.1, count_updates=True, use_ema=True)
    model.fit(*batch, batch_size=8, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    for one in (model, loaded):
        one.fit(*batch, batch_size=8, epochs=2, verbose=0, shuffle=False)
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
