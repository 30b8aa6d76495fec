import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.losses.hint import Hint

GOLDEN = Path(__file__).parents[1] / "golden"
RANDOM = np.random.default_rng(0)


def built(student=(4, 4, 5), teacher=(4, 4, 7), **options):
    keras.utils.set_random_seed(0)
    loss = Hint([("t", "s")], **options)
    loss.build({"t": (None, *teacher)}, {"s": (None, *student)})
    return loss


def maps(student=(4, 4, 5), teacher=(4, 4, 7), rows=3):
    random = np.random.default_rng(1)
    teacher_map = np.float32(random.normal(size=(rows, *teacher)))
    return {"t": teacher_map}, {"s": np.float32(random.normal(size=(rows, *student)))}


def test_reference(value_and_gradient):
    golden = np.load(GOLDEN / "attn__hint_mse.npz")
    teacher, student, expected = (
        golden[name].transpose(0, 2, 3, 1) for name in ("f_t", "f_s", "grad_f_s_f64")
    )
    loss = built(student.shape[1:], teacher.shape[1:])
    loss.regressors = [lambda x, training: x]
    value, gradient = value_and_gradient(lambda x: loss({"t": teacher}, {"s": x}), student)
    np.testing.assert_allclose(value, golden["loss_f64"], rtol=2e-5)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-8)


# The regressor

UP, DOWN = keras.layers.Conv2DTranspose, keras.layers.Conv2D
REGRESSORS = {
    "equal": ((4, 3), (4, 3), [DOWN], (1, 1), (1, 1)),
    "one place": ((1, 1), (1, 1), [DOWN], (1, 1), (1, 1)),
    "twice": ((8, 6), (4, 3), [DOWN], (3, 3), (2, 2)),
    "half": ((4, 3), (8, 6), [UP], (4, 4), (2, 2)),
    "half of one place": ((1, 1), (2, 2), [UP], (4, 4), (2, 2)),
    "one more": ((5, 4), (4, 3), [DOWN], (2, 2), (1, 1)),
    "some more": ((7, 4), (4, 3), [DOWN], (4, 2), (1, 1)),
    "twice as high": ((8, 3), (4, 3), [DOWN], (5, 1), (1, 1)),
    "far larger": ((13, 9), (4, 4), [DOWN], (1, 1), (1, 1)),
    "far wider": ((4, 9), (4, 4), [DOWN], (1, 1), (1, 1)),
    "a bit smaller": ((3, 4), (4, 4), [keras.layers.Resizing, DOWN], (1, 1), (1, 1)),
    "far smaller": ((2, 1), (7, 5), [keras.layers.Resizing, DOWN], (1, 1), (1, 1)),
    "higher and narrower": ((9, 2), (4, 4), [keras.layers.Resizing, DOWN], (1, 1), (1, 1)),
}
KINDS = (UP, DOWN, keras.layers.Resizing)


@pytest.mark.quick(9)
@pytest.mark.parametrize("case", REGRESSORS)
@pytest.mark.parametrize("channels", [(5, 7), (6, 6), (4, 1)])
def test_regressor_sizes_itself(case, channels):
    student, teacher, kinds, kernel, strides = REGRESSORS[case]
    student, teacher = (*student, channels[0]), (*teacher, channels[1])
    loss = built(student, teacher)
    (regressor,) = loss.regressors
    assert regressor.input_shape == (None, *student)
    assert regressor.output_shape == (None, *teacher)
    layers = [layer for layer in regressor.layers if type(layer) in KINDS]
    assert [type(layer) for layer in layers] == kinds
    assert (layers[-1].kernel_size, layers[-1].strides) == (kernel, strides)
    assert not layers[-1].use_bias  # the normalisation has one
    assert [type(layer) for layer in regressor.layers[-2:]] == [
        keras.layers.BatchNormalization,
        keras.layers.ReLU,
    ]
    assert np.isfinite(loss(*maps(student, teacher), training=True))


@pytest.mark.parametrize("student", [(4, 4, 5), (16, 12, 5)], ids=["equal", "far larger"])
def test_value_by_hand(student, value_and_gradient):
    loss = built(student)
    teachers, students = maps(student)
    (kernel, gamma, beta, mean, variance) = loss.regressors[0].get_weights()
    rows = students["s"].reshape(3, 4, student[0] // 4, 4, student[1] // 4, 5).mean(axis=(2, 4))
    regression = (rows @ kernel[0, 0] - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    errors = np.mean((np.maximum(regression, 0) - teachers["t"]) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(loss(teachers, students), errors.mean(), rtol=1e-5)
    weight = np.array([0.5, 0.0, 3.0])
    value, gradient = value_and_gradient(
        lambda x: loss(teachers, {"s": x}, weight[:, None]), students["s"]
    )
    np.testing.assert_allclose(value, np.mean(weight * errors), rtol=1e-5)
    np.testing.assert_array_equal(gradient[1], 0)
    assert np.abs(gradient[[0, 2]]).max() > 0


def test_pairs_have_a_regressor_each_and_add_up():
    keras.utils.set_random_seed(0)
    pairs = [("a", "s"), ("b", "s"), ("a", "s")]
    loss = Hint(pairs)
    layers = loss.build({"a": (None, 4, 4, 7), "b": (None, 2, 2, 3)}, {"s": (None, 4, 4, 5)})
    assert layers == loss.regressors
    assert [layer.name for layer in layers] == [f"hint_regressor_{i}" for i in range(3)]
    teachers = {"a": RANDOM.normal(size=(3, 4, 4, 7)), "b": RANDOM.normal(size=(3, 2, 2, 3))}
    student = RANDOM.normal(size=(3, 4, 4, 5))
    errors = [
        np.mean((regressor(student) - teachers[t]) ** 2)
        for regressor, (t, _) in zip(layers, pairs, strict=True)
    ]
    assert len({round(float(error), 6) for error in errors}) == 3
    np.testing.assert_allclose(loss(teachers, {"s": student}), sum(errors), rtol=1e-5)


def test_regressor_learns_and_the_teacher_gets_no_gradient():
    loss = built((8, 8, 5), (4, 4, 7))
    teachers, students = ({k: tf.constant(m) for k, m in d.items()} for d in maps((8, 8, 5)))
    (regressor,) = loss.regressors
    optimizer = keras.optimizers.SGD(0.5)
    values = []
    for _ in range(5):
        with tf.GradientTape() as tape:
            tape.watch([teachers["t"], students["s"]])
            value = loss(teachers, students, training=True)
        sources = [w.value for w in regressor.trainable_variables]
        to_teacher, to_student, *gradients = tape.gradient(
            value, [teachers["t"], students["s"], *sources]
        )
        assert to_teacher is None
        assert all(np.abs(gradient).max() > 0 for gradient in (to_student, *gradients))
        optimizer.apply(gradients, regressor.trainable_variables)
        values.append(float(value))
    assert values == sorted(values, reverse=True)
    assert len(sources) == 3  # the kernel, and scale and offset of the normalisation


def test_statistics_move_in_training_only():
    loss = built()
    before = loss.regressors[0].get_weights()
    in_inference = loss(*maps())
    for weight, former in zip(loss.regressors[0].get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, former)
    assert loss(*maps(), training=True) != in_inference
    after = loss.regressors[0].get_weights()
    assert sum((a != b).any() for a, b in zip(after, before, strict=True)) == 2


def test_maps_of_unknown_size():
    for student, teacher in (((None, None, 5), (4, 4, 7)), ((4, 4, 5), (None, None, 7))):
        with pytest.raises(ValueError, match="hint layers need images of a fixed size"):
            built(student, teacher)


def test_teacher_whose_shapes_are_not_known():
    with pytest.raises(ValueError, match=r"layer 't' is not known; give `teacher`, or Hint\(sha"):
        Hint([("t", "s")]).build({}, {"s": (None, 4, 4, 5)})
    shapes = [((None, 4, 4, 7), (None, 8, 8, 5))]
    (regressor,) = Hint([("t", "s")], shapes=shapes).build({}, {"s": (None, 8, 8, 5)})
    assert regressor.output_shape == (None, 4, 4, 7)


@pytest.mark.parametrize("shape", [(1, 1, 7), (4, 4, 1), (8, 8, 7)])
def test_a_map_that_does_not_fit_is_not_broadcast(shape):
    loss = built()
    _, students = maps()
    with pytest.raises(ValueError, match=r"hint: the teacher's map of 't' is .* was made for"):
        loss({"t": np.zeros((3, *shape))}, students)


@pytest.mark.parametrize("is_built", [False, True])
def test_config_round_trip(is_built):
    loss = built((8, 8, 5), name="have") if is_built else Hint([("t", "s")], name="have")
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    assert serialized["registered_name"] == "keras_distill>Hint"
    copy = keras.saving.deserialize_keras_object(serialized)
    assert type(copy) is Hint
    assert copy.get_config() == loss.get_config()
    assert copy.shapes == ([((None, 4, 4, 7), (None, 8, 8, 5))] if is_built else [])
    assert (copy.name, Hint([("t", "s")]).name) == ("have", "hint")
    assert len(copy.regressors) == is_built
    if is_built:
        (regressor,) = copy.build({}, {})
        regressor.set_weights(loss.regressors[0].get_weights())
        assert copy(*maps((8, 8, 5))) == loss(*maps((8, 8, 5)))


@pytest.mark.parametrize("student", [(4, 4, 5), (13, 9, 5), (2, 1, 5)])
def test_computes_in_float32_under_any_policy(student, dtype_policy):
    reference = built(student)
    expected = reference(*maps(student))
    dtype_policy("mixed_float16")
    loss = built(student)
    assert {weight.dtype for weight in loss.regressors[0].weights} == {"float32"}
    value = loss(*maps(student))
    assert value.dtype == "float32"
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    teachers, students = ({k: tf.cast(m, "float16") for k, m in d.items()} for d in maps(student))
    np.testing.assert_allclose(loss(teachers, students), expected, rtol=1e-2)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_of_unknown_batch_size(jit_compile):
    loss = built((13, 9, 5))
    compiled = tf.function(
        lambda teacher, student: loss({"t": teacher}, {"s": student}, training=True),
        jit_compile=jit_compile,
        input_signature=[tf.TensorSpec([None, 4, 4, 7]), tf.TensorSpec([None, 13, 9, 5])],
    )
    for rows in (2, 5):
        teachers, students = maps((13, 9, 5), rows=rows)
        expected = loss(teachers, students, training=True)
        np.testing.assert_allclose(compiled(teachers["t"], students["s"]), expected, rtol=1e-4)
