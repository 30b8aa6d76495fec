import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.losses.contrastive_teacher import ContrastiveTeacher
from keras_distill.methods.supervised import Supervised
from keras_distill.training.training_variables import (
    OPTIMIZER,
    WEIGHTS,
    assign_variables,
    read_variables,
)

GOLDEN = Path(__file__).parents[1] / "golden"
LABELS = np.array([7, 3, 3, 7, -1, 9, -1, 3])
RANDOM = np.random.default_rng(0)
TEACHER, STUDENT = np.float32(RANDOM.normal(size=(5, 4))), np.float32(RANDOM.normal(size=(5, 3)))
ROWS = np.array([2, 0, 5, 4, 7])
WEIGHT = RANDOM.uniform(0.5, 2, 5)


def built(teacher_dim=4, student_dim=3, labels=LABELS, **settings):
    keras.utils.set_random_seed(0)
    loss = ContrastiveTeacher(labels, **{"negatives": 6, "dim": 4, **settings})
    loss.build(teacher_dim, student_dim)
    return loss


def unit(row):
    length = np.linalg.norm(row)
    return row / length if length else row


def naive(loss, teacher, student, rows, weight=None, reduction="mean"):
    """The formula of the published code by loops, with the images that the loss draws."""
    memory = loss.layer
    drawn = loss.drawn(rows).numpy()
    count, negatives = len(loss.labels), loss.negatives
    sides = []
    for outputs, dense, remembered in (
        (teacher, memory._teacher_map, memory.student),
        (student, memory._student_map, memory.teacher),
    ):
        kernel, bias = (np.float64(each) for each in dense.get_weights())
        vectors = [unit(row @ kernel + bias) for row in np.float64(outputs)]
        remembered = np.float64(remembered)
        sides.append(
            [
                [np.exp(vector @ remembered[image] / loss.temperature) for image in images]
                for vector, images in zip(vectors, drawn, strict=True)
            ]
        )
    total = 0.0
    for constant, scores in zip(np.float64(memory.constants), sides, strict=True):
        known = [each for each, row in zip(scores, rows, strict=True) if row >= 0]
        z = constant or np.mean(known) * count
        for i, each in enumerate(scores):
            if rows[i] < 0:
                continue
            p = np.array(each) / z
            c = negatives / count
            value = -np.log(p[0] / (p[0] + c + 1e-7))
            value -= sum(np.log(c / (other + c + 1e-7)) for other in p[1:])
            total += value * (1.0 if weight is None else weight[i])
    return total / len(rows) if reduction == "mean" else total


def test_reference(monkeypatch):
    golden = np.load(GOLDEN / "headkd__crd_seed9.npz")
    params = json.loads(str(golden["params_json"]))
    loss = ContrastiveTeacher(
        np.arange(params["n_data"]),
        negatives=params["nce_k"],
        temperature=params["nce_t"],
        momentum=params["nce_m"],
        dim=params["feat_dim"],
    )
    loss.build(golden["f_t"].shape[1], golden["f_s"].shape[1])
    memory = loss.layer
    memory._teacher_map.set_weights([golden["We_t"].T, golden["be_t"]])
    memory._student_map.set_weights([golden["We_s"].T, golden["be_s"]])
    memory.student.assign(golden["memory_v1"])
    memory.teacher.assign(golden["memory_v2"])
    monkeypatch.setattr(loss, "drawn", lambda rows: tf.constant(golden["contrast_idx"]))
    student = tf.Variable(golden["f_s"])
    with tf.GradientTape() as tape:
        value = loss(golden["f_t"], student, rows=golden["idx"])
    np.testing.assert_allclose(value, golden["loss_f64"], rtol=1e-5)
    gradient = tape.gradient(value, student)
    np.testing.assert_allclose(gradient, golden["grad_f_s_f64"], rtol=1e-3, atol=1e-5)
    loss.update(golden["f_t"], student_outputs=golden["f_s"], rows=golden["idx"])
    for remembered, name in ((memory.student, "v1"), (memory.teacher, "v2")):
        after = golden[f"memory_{name}_after_f64"]
        np.testing.assert_allclose(remembered, after, rtol=1e-5, atol=1e-6)
    # The published code lists the constant of the student's vector first.
    np.testing.assert_allclose(memory.constants.numpy()[::-1], golden["Z_f64"][2:4], rtol=1e-5)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_equals_loops(reduction, value_and_gradient, numeric_gradient):
    loss = built(reduction=reduction)
    for _ in range(2):  # with the constants of the batch, and with settled ones
        for weight in (None, WEIGHT):
            value = loss(TEACHER, STUDENT, weight, rows=ROWS)
            expected = naive(loss, TEACHER, STUDENT, ROWS, weight, reduction)
            np.testing.assert_allclose(value, expected, rtol=1e-4)
        loss.update(TEACHER, student_outputs=STUDENT, rows=ROWS)
    _, gradient = value_and_gradient(lambda x: loss(TEACHER, x, WEIGHT, rows=ROWS), STUDENT)
    expected = numeric_gradient(lambda x: naive(loss, TEACHER, x, ROWS, WEIGHT, reduction), STUDENT)
    np.testing.assert_allclose(gradient, expected, rtol=1e-2, atol=1e-3)


def test_negatives_are_of_other_classes_and_change_with_the_updates():
    loss = built(negatives=500)
    drawn = loss.drawn(ROWS).numpy()
    assert drawn.shape == (5, 501)
    np.testing.assert_array_equal(drawn[:, 0], ROWS)
    for row, images in zip(ROWS, drawn[:, 1:], strict=True):
        same = {row} if LABELS[row] < 0 else set(np.flatnonzero(LABELS[row] == LABELS))
        assert set(images) == set(range(8)) - same
    np.testing.assert_array_equal(loss.drawn(ROWS), drawn)
    loss.update(TEACHER, student_outputs=STUDENT, rows=ROWS)
    assert (loss.drawn(ROWS).numpy() != drawn).any()
    assert (built(negatives=500, seed=1).drawn(ROWS).numpy() != drawn).any()


def test_rows_without_an_image_have_no_part(value_and_gradient):
    loss = built(reduction="sum")
    rows = np.where(np.arange(5) < 3, ROWS, -1)
    value, gradient = value_and_gradient(lambda x: loss(TEACHER, x, rows=rows), STUDENT)
    np.testing.assert_array_equal(gradient[3:], 0)
    np.testing.assert_allclose(value, naive(loss, TEACHER, STUDENT, rows, None, "sum"), rtol=1e-4)
    before = [np.array(each) for each in (loss.layer.teacher, loss.layer.student)]
    loss.update(TEACHER, student_outputs=STUDENT, rows=rows)
    for former, memory in zip(before, (loss.layer.teacher, loss.layer.student), strict=True):
        changed = (np.array(memory) != former).any(axis=1)
        assert set(np.flatnonzero(changed)) == set(ROWS[:3])
    nothing = np.full(5, -1)
    assert float(built()(TEACHER, STUDENT, rows=nothing)) == 0
    fresh = built()
    fresh.update(TEACHER, student_outputs=STUDENT, rows=nothing)
    assert (fresh.layer.constants.numpy() == 0).all()


def test_degenerate_batches_are_finite(value_and_gradient):
    loss = built()
    for _ in range(2):  # with the constants of the batch, and with settled ones
        for teacher, student, rows in (
            (np.zeros((5, 4)), STUDENT, ROWS),
            (TEACHER, np.zeros((5, 3)), ROWS),
            (np.ones((5, 4)), np.ones((5, 3)), np.zeros(5, int)),
            (1e6 * TEACHER, 1e6 * STUDENT, ROWS),
            (1e-18 * TEACHER, 1e-18 * STUDENT, ROWS),
        ):
            value, gradient = value_and_gradient(
                lambda x, t=teacher, r=rows: loss(t, x, rows=r), np.float32(student)
            )
            assert np.isfinite(value)
            assert np.isfinite(gradient).all()
        loss.update(np.zeros((5, 4)), student_outputs=np.zeros((5, 3)), rows=ROWS)


def test_an_image_that_is_there_twice_and_rows_that_are_not_finite():
    loss = built(momentum=0.25)
    memory = loss.layer
    before, rows = np.array(memory.student), np.array([1, 1, 6, 0, 0])
    student = STUDENT.copy()
    student[2] = np.nan
    _, vectors = (each.numpy() for each in memory.vectors(TEACHER, STUDENT))
    loss.update(TEACHER, student_outputs=student, rows=rows)
    after = np.array(memory.student)
    np.testing.assert_array_equal(after[2:], before[2:])
    for row, twice in ((1, [0, 1]), (0, [3, 4])):
        moved = [unit(0.25 * before[row] + 0.75 * vectors[each]) for each in twice]
        np.testing.assert_allclose(after[row], np.mean(moved, axis=0), rtol=1e-4, atol=1e-6)
    assert (memory.constants.numpy() == 0).all()  # this batch overflowed


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype):
    loss = built()
    teacher, student = tf.cast(TEACHER, dtype), tf.cast(STUDENT, dtype)
    value = loss(teacher, student, rows=ROWS)
    assert value.dtype == "float32"
    expected = loss(tf.cast(teacher, "float32"), tf.cast(student, "float32"), rows=ROWS)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    loss.update(teacher, student_outputs=student, rows=ROWS)
    assert np.isfinite(loss.layer.student).all()


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_graph_of_unknown_batch_size(jit_compile):
    loss = built()
    compiled = tf.function(
        lambda t, s, r: loss(t, s, rows=r),
        jit_compile=jit_compile,
        input_signature=[
            tf.TensorSpec([None, 4]),
            tf.TensorSpec([None, 3]),
            tf.TensorSpec([None], "int64"),
        ],
    )
    for rows in (2, 5):
        batch = TEACHER[:rows], STUDENT[:rows], ROWS[:rows]
        np.testing.assert_allclose(compiled(*batch), naive(loss, *batch), rtol=1e-4)


def learner():
    """A product with an embedding, trained by the contrastive loss alone."""
    keras.utils.set_random_seed(1)
    image = keras.Input((4,), name="image")
    product = keras.Model(image, {"embedding": keras.layers.Dense(3)(image)})
    loss = ContrastiveTeacher(LABELS, negatives=6, dim=4)
    model = Supervised(
        product,
        {},
        teacher=keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)]),
        teacher_losses={"embedding": [loss]},
    )
    model.compile(keras.optimizers.Adam(0.05))
    return model


def batches():
    x = {
        "image": np.float32(np.random.default_rng(3).normal(size=(8, 4))),
        "row": np.arange(8),
    }
    return tf.data.Dataset.from_tensor_slices((x,)).batch(4).repeat()


def fit(model, steps):
    history = model.fit(batches(), steps_per_epoch=2, epochs=steps // 2, verbose=0)
    return history.history["embedding_crd"]


@pytest.mark.slow
def test_training_learns_and_moves_the_memory_and_evaluation_does_not():
    model = learner()
    memory = model.loss_layers[0]
    before = np.array(memory.student)
    values = fit(model, 40)
    assert values[-1] < values[0]
    assert (np.array(memory.student) != before).any(axis=1).all()
    assert int(memory.updates) == 40
    state = [np.array(each) for each in memory.weights]
    model.evaluate(batches(), steps=2, verbose=0)
    for former, now in zip(state, memory.weights, strict=True):
        np.testing.assert_array_equal(now, former)


@pytest.mark.slow
def test_a_resumed_training_ends_as_if_it_had_not_stopped(tmp_path):
    whole, begun, resumed = learner(), learner(), learner()
    fit(whole, 8)
    fit(begun, 4)
    assign_variables(resumed, read_variables(begun), WEIGHTS, OPTIMIZER)  # as a checkpoint does
    fit(resumed, 4)
    for one, other in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    whole.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for one, other in zip(loaded.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_batches_without_numbers():
    model = learner()
    with pytest.raises(InputError, match="give batches with 'row', the number of each image"):
        model.fit(np.ones((4, 4), "float32"), verbose=0)


def test_unusable_arguments():
    for arguments in ({"negatives": 0}, {"dim": 0}, {"temperature": 0}, {"momentum": 1}):
        with pytest.raises(InputError, match="must be positive, and `momentum="):
            ContrastiveTeacher(LABELS, **arguments)
    with pytest.raises(InputError, match="of 3 images of one class"):
        ContrastiveTeacher([4, 4, 4])
    with pytest.raises(InputError, match="`labels` are float64; give an integer"):
        ContrastiveTeacher([0.5, 1.0])
    with pytest.raises(InputError, match="whose width is known before"):
        ContrastiveTeacher(LABELS).build(None, 3)
    with pytest.raises(InputError, match=r"`teacher_dim=2`: the teacher's embedding has width 5"):
        ContrastiveTeacher(LABELS, teacher_dim=2).build(5, 3)
    with pytest.raises(InputError, match="`rows` is missing"):
        built()(TEACHER, STUDENT)
    with pytest.raises(ValueError, match="has variables of its own"):
        ContrastiveTeacher(LABELS)(TEACHER, STUDENT, rows=ROWS)


def test_config():
    loss = ContrastiveTeacher(LABELS, negatives=3, temperature=0.2, momentum=0.1, dim=2, seed=4)
    copy = keras.saving.deserialize_keras_object(
        json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    )
    assert copy.get_config() == loss.get_config()
    np.testing.assert_array_equal(copy.labels, loss.labels)
