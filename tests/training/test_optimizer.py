import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.losses.absolute_teacher import AbsoluteTeacher
from keras_distill.methods.distiller import Distiller
from keras_distill.training.one_cycle import OneCycle
from keras_distill.training.optimizer import add_l2_penalty, build_optimizer


def rates(steps, **arguments):
    optimizer = build_optimizer(learning_rate=0.4, steps=100, **arguments)
    values = []
    for step in steps:
        optimizer.iterations.assign(step)
        values.append(float(optimizer.learning_rate))
    return values


def test_constant():
    assert rates([0, 50, 100], schedule="constant") == pytest.approx([0.4, 0.4, 0.4])


def test_constant_after_warmup():
    expected = [0.0, 0.2, 0.4, 0.4, 0.4, 0.4]
    steps = [0, 5, 10, 11, 50, 100]
    assert rates(steps, schedule="constant", warmup_steps=10) == pytest.approx(expected)


def test_cosine():
    steps = [0, 25, 50, 75, 100, 110]
    expected = [0.2 * (1 + np.cos(np.pi * min(step, 100) / 100)) for step in steps]
    assert rates(steps, schedule="cosine") == pytest.approx(expected, abs=1e-7)


def test_cosine_after_warmup():
    steps = [0, 10, 20, 60, 100]
    expected = [0.0, 0.2, 0.4, 0.2, 0.0]
    assert rates(steps, schedule="cosine", warmup_steps=20) == pytest.approx(expected, abs=1e-7)


def test_warmup_longer_than_the_training():
    assert rates([0, 50, 100], schedule="cosine", warmup_steps=200) == pytest.approx([0, 0.1, 0.2])


def test_one_cycle():
    steps = [0, 10, 29, 60, 99, 100]
    one_cycle = OneCycle(0.4, 100)
    expected = [float(one_cycle(step)) for step in steps]
    assert rates(steps, schedule="one_cycle") == pytest.approx(expected)
    one_cycle = OneCycle(0.4, 100, rise=0.2)
    expected = [float(one_cycle(step)) for step in steps]
    assert rates(steps, schedule="one_cycle", warmup_steps=20) == pytest.approx(expected)
    with pytest.raises(InputError, match="`warmup_steps=100` must be below the 100 steps of the"):
        rates([0], schedule="one_cycle", warmup_steps=100)


def test_unknown_schedule():
    with pytest.raises(ValueError, match="schedule='linear'` is none of 'constant', "):
        build_optimizer(learning_rate=0.1, schedule="linear", steps=1)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_weight_decay_is_decoupled(weight_decay):
    weight = keras.Variable([2.0])
    optimizer = build_optimizer(learning_rate=0.5, steps=9, weight_decay=weight_decay)
    optimizer.apply([keras.ops.zeros(1)], [weight])
    assert isinstance(optimizer, keras.optimizers.Adam)
    assert weight.numpy() == pytest.approx(2.0 * (1 - 0.5 * weight_decay))


def test_l2_penalty_adds_each_weight_to_its_gradient(small_embedder):
    model = small_embedder(image_size=8)
    add_l2_penalty(model, 0.3)
    with tf.GradientTape() as tape:
        penalty = sum(model.losses)
    expected = 0.15 * sum(np.sum(np.square(weight)) for weight in model.trainable_weights)
    np.testing.assert_allclose(penalty, expected, rtol=1e-5)
    gradients = tape.gradient(penalty, model.trainable_variables)
    for gradient, weight in zip(gradients, model.trainable_weights, strict=True):
        np.testing.assert_allclose(gradient, 0.3 * weight.numpy(), rtol=1e-6)


def test_l2_penalty_of_matrices_alone(small_embedder):
    model = small_embedder(image_size=8)
    add_l2_penalty(model, 0.3, matrices_only=True)
    kernels = [weight for weight in model.trainable_weights if len(weight.shape) > 1]
    assert 0 < len(kernels) < len(model.trainable_weights)
    expected = 0.15 * sum(np.sum(np.square(kernel)) for kernel in kernels)
    np.testing.assert_allclose(sum(model.losses), expected, rtol=1e-5)


def test_l2_penalty_is_in_the_total_of_the_distiller(small_embedder):
    student = small_embedder(image_size=8)
    add_l2_penalty(student, 0.3)
    distiller = Distiller(student, teacher_losses=[AbsoluteTeacher()])
    distiller.compile()
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3))
    x = {"image": images, "teacher_embedding": np.eye(4)}
    logs = distiller.evaluate(x, verbose=0, return_dict=True)
    assert logs.keys() == {"loss", "absolute"}
    expected = logs["absolute"] + float(sum(student.losses))
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)
