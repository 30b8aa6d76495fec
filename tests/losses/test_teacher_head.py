import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.losses.kde_teacher import KdeTeacher
from keras_distill.losses.logits_teacher import LogitsTeacher
from keras_distill.losses.teacher_head import TeacherHead

GOLDEN = Path(__file__).parents[1] / "golden"
RANDOM = np.random.default_rng(0)
KERNEL, BIAS = np.float32(RANDOM.normal(size=(4, 3))), np.float32(RANDOM.normal(size=3))
TEACHER, STUDENT = np.float32(RANDOM.normal(size=(2, 6, 4)))
WEIGHT = RANDOM.uniform(0.5, 2, 6)


def unit(row):
    length = np.linalg.norm(row)
    return row / length if length else row


def logits(row, bias, scale):
    if scale is not None:
        return [scale * unit(row) @ unit(np.float64(column)) for column in KERNEL.T]
    extra = np.zeros(3) if bias is None else bias
    return [row @ np.float64(column) + extra[c] for c, column in enumerate(KERNEL.T)]


def naive(teacher, student, weight=None, *, bias=BIAS, scale=None, temperature=4.0):
    total = 0.0
    for i, (t, s) in enumerate(zip(np.float64(teacher), np.float64(student), strict=True)):
        p, q = (np.exp(np.array(logits(row, bias, scale)) / temperature) for row in (t, s))
        p, q = p / p.sum(), q / q.sum()
        divergence = sum(a * np.log(a / b) for a, b in zip(p, q, strict=True))
        total += temperature**2 * divergence * (1.0 if weight is None else weight[i])
    return total / len(student)


@pytest.mark.parametrize(
    ("bias", "scale", "temperature"),
    [(BIAS, None, 4.0), (None, None, 1.0), (None, 20.0, 4.0), (None, 64.0, 2.0)],
)
def test_equals_loops(bias, scale, temperature, value_and_gradient, numeric_gradient):
    loss = TeacherHead(KERNEL, bias, scale=scale, temperature=temperature)
    options = {"bias": bias, "scale": scale, "temperature": temperature}
    value, gradient = value_and_gradient(lambda x: loss(TEACHER, x, WEIGHT), STUDENT)
    np.testing.assert_allclose(value, naive(TEACHER, STUDENT, WEIGHT, **options), rtol=1e-4)
    expected = numeric_gradient(lambda x: naive(TEACHER, x, WEIGHT, **options), STUDENT)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(loss(TEACHER, STUDENT), naive(TEACHER, STUDENT, **options), 1e-4)
    summed = TeacherHead(KERNEL, bias, scale=scale, temperature=temperature, reduction="sum")
    np.testing.assert_allclose(summed(TEACHER, STUDENT), 6 * loss(TEACHER, STUDENT), rtol=1e-5)


@pytest.mark.parametrize("case", sorted(p.stem for p in GOLDEN.glob("headkd__kdth_*.npz")))
def test_reference_on_the_logits_of_the_head(case, value_and_gradient):
    """A head that is the identity shows the divergence of the logits themselves."""
    golden = np.load(GOLDEN / f"{case}.npz")
    temperature = json.loads(str(golden["params_json"]))["T"]
    loss = TeacherHead(np.eye(golden["y_t"].shape[1]), temperature=temperature)
    value, gradient = value_and_gradient(lambda x: loss(golden["y_t"], x), golden["y_s_th"])
    np.testing.assert_allclose(value, golden["loss_f64"], rtol=2e-5)
    np.testing.assert_allclose(gradient, golden["grad_y_s_th_f64"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", sorted(p.stem for p in GOLDEN.glob("headkd__thkd_step_*.npz")))
def test_reference_step(case):
    """The step of the published code: labels, the student's head and the teacher's head."""
    golden = np.load(GOLDEN / f"{case}.npz")
    params = json.loads(str(golden["params_json"]))
    kernel, bias = (tf.Variable(golden[name].T) for name in ("W_s", "b_s"))
    features = tf.Variable(golden["feat"])
    # An embedding of the teacher for which its head gives the stored logits.
    pseudo = np.linalg.pinv(np.float64(golden["W_t"].T))
    embedding = np.float32((golden["y_t"] - golden["b_t"]) @ pseudo)
    head = TeacherHead(golden["W_t"].T, golden["b_t"], temperature=params["T"])
    np.testing.assert_allclose(head.logits(embedding), golden["y_t"], rtol=1e-4, atol=1e-5)
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        own = features @ kernel + bias
        label = entropy(golden["labels"], own)
        divergence = LogitsTeacher(params["T"])(golden["y_t"], own)
        shared = head(embedding, features)
        total = params["gamma"] * label + params["alpha"] * divergence + params["beta"] * shared
    for value, name in ((label, "cls"), (divergence, "div"), (shared, "th")):
        np.testing.assert_allclose(value, golden[f"loss_{name}_f64"], rtol=1e-4)
    np.testing.assert_allclose(total, golden["loss_f64"], rtol=1e-4)
    np.testing.assert_allclose(head.logits(features), golden["logits_th_f64"], rtol=1e-4, atol=1e-5)
    gradients = tape.gradient(total, [features, kernel, bias])
    for gradient, name in zip(gradients, ("feat", "W_s", "b_s"), strict=True):
        expected = golden[f"grad_{name}_f64"]
        np.testing.assert_allclose(
            np.transpose(gradient) if name == "W_s" else gradient, expected, rtol=1e-3, atol=1e-5
        )


def test_reference_of_kde_with_the_head():
    golden = np.load(GOLDEN / "headkd__kdeth_d0.02_b0.8.npz")
    params = json.loads(str(golden["params_json"]))
    head = TeacherHead(np.eye(10), temperature=params["T"])
    value = KdeTeacher()(golden["emb_t"], golden["emb_s"]) + params["th_weight"] * head(
        golden["y_t"], golden["y_s"]
    )
    np.testing.assert_allclose(value, golden["loss_f64"], rtol=2e-5)


@pytest.mark.parametrize("scale", [None, 64.0])
def test_degenerate_embeddings_are_finite(scale, value_and_gradient):
    loss = TeacherHead(KERNEL, scale=scale)
    flat = TeacherHead(np.zeros((4, 3)), scale=scale)
    for rows in (np.zeros((6, 4)), np.ones((6, 4)), 1e4 * TEACHER, 1e-18 * TEACHER):
        for teacher, student in ((TEACHER, rows), (rows, STUDENT), (rows, rows)):
            value, gradient = value_and_gradient(
                lambda x, t=teacher: loss(t, x), np.float32(student)
            )
            assert np.isfinite(value)
            assert np.isfinite(gradient).all()
            if teacher is student and np.abs(rows).max() > 1e-6:
                np.testing.assert_allclose(gradient, 0, atol=1e-4)
        assert float(flat(TEACHER, np.float32(rows))) == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype):
    rounded = tf.cast(STUDENT, dtype)
    value = TeacherHead(KERNEL, BIAS)(tf.cast(TEACHER, dtype), rounded)
    assert value.dtype == "float32"
    expected = naive(tf.cast(tf.cast(TEACHER, dtype), "float64"), tf.cast(rounded, "float64"))
    np.testing.assert_allclose(value, expected, rtol=1e-4)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_of_unknown_batch_size(jit_compile):
    loss = TeacherHead(KERNEL, BIAS)
    signature = [tf.TensorSpec([None, 4])] * 2
    compiled = tf.function(loss, jit_compile=jit_compile, input_signature=signature)
    for rows in (2, 5):
        expected = naive(TEACHER[:rows], STUDENT[:rows])
        np.testing.assert_allclose(compiled(TEACHER[:rows], STUDENT[:rows]), expected, rtol=1e-4)


def test_neither_teacher_nor_head_is_trained():
    teacher, student = tf.Variable(TEACHER), tf.Variable(STUDENT)
    loss = TeacherHead(KERNEL, BIAS)
    with tf.GradientTape() as tape:
        value = loss(teacher, student)
    to_teacher, to_student = tape.gradient(value, [teacher, student])
    assert to_teacher is None
    assert np.abs(to_student).max() > 0
    assert loss.layer is None


def test_config_holds_the_head():
    for loss in (
        TeacherHead(KERNEL, BIAS, temperature=2.0, reduction="sum", name="own"),
        TeacherHead(KERNEL, scale=30.0),
    ):
        serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
        copy = keras.saving.deserialize_keras_object(serialized)
        assert copy.get_config() == loss.get_config()
        np.testing.assert_array_equal(copy.kernel, KERNEL)
        assert copy(TEACHER, STUDENT) == loss(TEACHER, STUDENT)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kernel": np.ones(3)}, r"`kernel` of shape \(3,\) must be a matrix"),
        ({"kernel": [[np.nan]]}, "of finite numbers"),
        ({"kernel": KERNEL, "bias": np.ones(2)}, r"`bias` of shape \(2,\) does not fit the 3"),
        ({"kernel": KERNEL, "scale": 0}, "`scale=0` must be positive"),
        ({"kernel": KERNEL, "bias": BIAS, "scale": 2.0}, "goes without `bias`"),
        ({"kernel": KERNEL, "temperature": 0}, "`temperature=0` must be positive"),
    ],
)
def test_unusable_arguments(arguments, said):
    with pytest.raises(InputError, match=said):
        TeacherHead(**arguments)


def test_embeddings_of_another_width():
    with pytest.raises(ValueError, match="the head takes embeddings of width 4, not 5"):
        TeacherHead(KERNEL)(np.ones((2, 5)), np.ones((2, 5)))
    with pytest.raises(ValueError, match="width 4, the student's 3"):
        TeacherHead(KERNEL)(np.ones((2, 4)), np.ones((2, 3)))
