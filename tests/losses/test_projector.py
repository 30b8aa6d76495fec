import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.losses.projector import Projector
from keras_distill.methods.distiller import Distiller

RANDOM = np.random.default_rng(0)
KERNEL = np.float32(RANDOM.normal(size=(3, 5)))
IMAGES = RANDOM.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)


def built(kernel=KERNEL, **arguments):
    loss = Projector(**arguments)
    loss.build(kernel.shape[1], kernel.shape[0])
    loss.layer.set_weights([kernel])
    return loss


def normalized(columns, weights):
    """Batch normalisation of each column, entry by entry."""
    result = np.zeros_like(columns)
    total = sum(weights) or 1
    for k in range(columns.shape[1]):
        mean = sum(w * x for w, x in zip(weights, columns[:, k], strict=True)) / total
        squares = [w * (x - mean) ** 2 for w, x in zip(weights, columns[:, k], strict=True)]
        for i in range(len(columns)):
            result[i, k] = (columns[i, k] - mean) / math.sqrt(sum(squares) / total + 1e-4)
    return result


def naive(teacher, student, weights=None, kernel=KERNEL):
    weights = np.ones(len(student)) if weights is None else weights
    projected = normalized(np.float64(student) @ np.float64(kernel), weights)
    target = normalized(np.float64(teacher), weights)
    total = 1e-6
    for i, weight in enumerate(weights):
        for k in range(target.shape[1]):
            total += weight * abs(projected[i, k] - target[i, k]) ** 4
    return math.log(total)


def batch(rows, seed=0):
    random = np.random.default_rng(seed)
    vectors = (random.normal(size=(rows, width)) for width in (5, 3))
    return (*(np.float32(v) for v in vectors), random.uniform(0, 3, rows))


def gradients(loss, teacher, student, weights=None):
    with tf.GradientTape() as tape:
        student = tf.convert_to_tensor(student)
        tape.watch(student)
        value = loss(teacher, student, weights)
    kernel = loss.layer.kernel.value
    return value.numpy(), *(np.array(g) for g in tape.gradient(value, [student, kernel]))


@pytest.mark.parametrize("rows", [2, 3, 12])
def test_equals_loops(rows):
    teacher, student, weights = batch(rows, seed=rows)
    for some in (None, weights, np.where(weights < 1, 0.0, weights)):
        value = built()(teacher, student, some)
        np.testing.assert_allclose(value, naive(teacher, student, some), rtol=1e-4)


def test_gradients_equal_finite_differences(numeric_gradient):
    teacher, student, weights = batch(6)
    _, to_student, to_kernel = gradients(built(), teacher, student, weights)
    expected = numeric_gradient(lambda x: naive(teacher, x, weights), student)
    np.testing.assert_allclose(to_student, expected, rtol=1e-3, atol=1e-4)
    expected = numeric_gradient(lambda x: naive(teacher, student, weights, x), KERNEL)
    np.testing.assert_allclose(to_kernel, expected, rtol=1e-3, atol=1e-4)


STUDENTS = {
    "one row": np.ones((1, 3)),
    "one zero row": np.zeros((1, 3)),
    "zeros": np.zeros((4, 3)),
    "equal": np.ones((4, 3)),
    "duplicates": np.eye(4, 3)[[0, 0, 1, 1]],
}


@pytest.mark.parametrize("student", STUDENTS.values(), ids=STUDENTS)
def test_degenerate_batches(student):
    teacher, _, _ = batch(len(student))
    for target in (teacher, np.zeros_like(teacher), np.ones_like(teacher), student @ KERNEL):
        for weights in (None, np.zeros(len(student))):
            found = gradients(built(), np.float32(target), np.float32(student), weights)
            np.testing.assert_allclose(
                found[0], naive(target, student, weights), rtol=1e-4, atol=1e-4
            )
            assert all(np.isfinite(each).all() for each in found)


def test_a_perfect_student_has_the_least_value_and_no_gradient():
    _, student, _ = batch(5)
    value, to_student, _ = gradients(built(), student @ KERNEL, student)
    assert value == pytest.approx(math.log(1e-6), abs=1e-4)
    np.testing.assert_allclose(to_student, 0, atol=1e-3)


def test_rows_of_weight_zero_have_no_part():
    teacher, student, _ = batch(6)
    weights = np.float32([1, 0, 1, 1, 0, 1])
    value, to_student, _ = gradients(built(), teacher, student, weights)
    kept = weights > 0
    np.testing.assert_allclose(value, built()(teacher[kept], student[kept]), rtol=1e-5)
    np.testing.assert_array_equal(to_student[~kept], 0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype, dtype_policy):
    dtype_policy(f"mixed_{dtype}")
    teacher, student, _ = batch(12)
    student = tf.cast(student, dtype)
    value = built()(teacher, student)
    assert value.dtype == "float32"
    np.testing.assert_allclose(value, naive(teacher, np.float32(student)), rtol=1e-4)


def test_it_does_not_hide_nan():
    teacher, student, _ = batch(4)
    assert np.isnan(built()(teacher, np.full_like(student, np.nan)))


def test_config():
    teacher, student, _ = batch(6)
    loss = built(epsilon=0.5, name="own")
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    copy = keras.saving.deserialize_keras_object(serialized)
    assert copy.get_config() == loss.get_config()
    copy.build(None, 3)
    copy.layer.set_weights(loss.layer.get_weights())
    assert copy(teacher, student) == loss(teacher, student) != built()(teacher, student)


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_it_compiles_for_any_batch_size(jit_compile):
    loss = built()
    signature = [tf.TensorSpec([None, 5]), tf.TensorSpec([None, 3])]
    compiled = tf.function(loss, jit_compile=jit_compile, input_signature=signature)
    for rows in (4, 7):
        teacher, student, _ = batch(rows)
        np.testing.assert_allclose(compiled(teacher, student), naive(teacher, student), rtol=1e-4)


def test_widths():
    with pytest.raises(InputError, match=r"`teacher`: the loss projector needs one whose width"):
        Projector().build(None, 3)
    with pytest.raises(InputError, match=r"`teacher_dim=4`: .* has width 5"):
        Projector(teacher_dim=4).build(5, 3)
    with pytest.raises(ValueError, match=r"has width 1; the projector was made for 5"):
        built()(np.ones((4, 1)), np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"projector: Projector has variables of its own"):
        Projector()(np.ones((4, 5)), np.ones((4, 3)))


@pytest.mark.slow
def test_a_distiller_trains_keeps_and_drops_the_projector(small_embedder, tmp_path):
    distiller = Distiller(
        small_embedder(3, image_size=8),
        teacher=small_embedder(5, seed=1, image_size=8),
        teacher_losses=[Projector()],
    )
    (loss,) = distiller.teacher_losses
    before = loss.layer.get_weights()[0]
    distiller.compile(keras.optimizers.Adam(0.01))
    history = distiller.fit(IMAGES, epochs=5, verbose=0).history["projector"]
    assert history[-1] < history[0]
    assert np.abs(loss.layer.get_weights()[0] - before).max() > 1e-3
    assert not {id(v) for v in loss.layer.variables} & {id(v) for v in distiller.student.variables}
    value = distiller.evaluate(IMAGES, verbose=0, return_dict=True)["loss"]
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    loaded.teacher = distiller.teacher
    np.testing.assert_allclose(
        loaded.evaluate(IMAGES, verbose=0, return_dict=True)["loss"], value, rtol=1e-5
    )
