import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.losses.attention_maps import (
    AttentionMaps,
    adaptive_average_pool,
    attention_energy,
)

GOLDEN = Path(__file__).parents[1] / "golden"
SIZES = {  # of the teacher's map and of the student's
    "equal": ((4, 3), (4, 3)),
    "student larger": ((3, 2), (7, 5)),
    "student smaller": ((5, 6), (2, 4)),
    "each larger in one": ((5, 2), (2, 5)),
    "one place": ((1, 1), (3, 3)),
}


def random_maps(sizes=SIZES["student larger"], rows=3):
    random = np.random.default_rng(0)
    teacher, student = sizes
    return (
        np.float32(random.normal(size=(rows, *teacher, 3))),
        np.float32(random.normal(size=(rows, *student, 2))),
    )


def one_pair(teacher, student, sample_weight=None, loss=None):
    loss = loss or AttentionMaps([("t", "s")])
    return loss({"t": teacher}, {"s": student}, sample_weight)


def pooled(features, size):
    height, width, channels = features.shape
    out = np.zeros((*size, channels))
    for i in range(size[0]):
        for j in range(size[1]):
            top, bottom = math.floor(i * height / size[0]), math.ceil((i + 1) * height / size[0])
            left, right = math.floor(j * width / size[1]), math.ceil((j + 1) * width / size[1])
            out[i, j] = features[top:bottom, left:right].mean(axis=(0, 1))
    return out


def naive(teacher, student, sample_weight=None):
    teacher, student = np.float64(teacher), np.float64(student)
    size = np.minimum(teacher.shape[1:3], student.shape[1:3])
    weight = np.ones(len(student)) if sample_weight is None else sample_weight
    total = 0.0
    for i in range(len(student)):
        maps = []
        for features in (teacher[i], student[i]):
            places = [np.mean(f**2) for row in pooled(features, size) for f in row]
            maps.append(np.array(places) / max(np.linalg.norm(places), 1e-12))
        total += weight[i] * np.mean((maps[1] - maps[0]) ** 2)
    return total / len(student)


@pytest.mark.parametrize("case", ["same", "student_larger", "student_smaller", "zero_map"])
def test_reference(case, value_and_gradient):
    golden = np.load(GOLDEN / f"attn__at_{case}.npz")
    teacher, student, expected = (
        golden[name].transpose(0, 2, 3, 1) for name in ("f_t", "f_s", "grad_f_s_f64")
    )
    value, gradient = value_and_gradient(lambda x: one_pair(teacher, x), student)
    np.testing.assert_allclose(value, golden["loss_f64"], rtol=2e-5)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(naive(teacher, student), golden["loss_f64"], rtol=1e-9)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_loops(sizes, value_and_gradient, numeric_gradient):
    teacher, student = random_maps(sizes)
    for weight in (None, np.array([0.5, 0.0, 2.0])):
        value, gradient = value_and_gradient(lambda x, w=weight: one_pair(teacher, x, w), student)
        np.testing.assert_allclose(value, naive(teacher, student, weight), rtol=1e-5, atol=1e-9)
        expected = numeric_gradient(lambda x, w=weight: naive(teacher, x, w), student)
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(gradient[1], 0)


@pytest.mark.parametrize(
    ("size", "smaller"),
    [
        ((8, 8), (4, 2)),
        ((7, 5), (3, 2)),
        ((5, 9), (4, 7)),
        ((5, 4), (5, 3)),
        ((6, 3), (1, 3)),
        ((3, 4), (3, 4)),
        ((13, 11), (1, 1)),
    ],
)
def test_adaptive_average_pool(size, smaller):
    features = np.random.default_rng(0).normal(size=(2, *size, 3))
    expected = [pooled(image, smaller) for image in features]
    np.testing.assert_allclose(adaptive_average_pool(features, smaller), expected, rtol=1e-6)
    image = keras.Input((*size, 3))
    model = keras.Model(image, adaptive_average_pool(image, smaller))
    assert model.output_shape == (None, *smaller, 3)
    np.testing.assert_allclose(model(features), expected, rtol=1e-4, atol=1e-6)


def test_pairs_add_up_and_scales_and_channels_do_not_matter():
    random = np.random.default_rng(0)
    teachers = {name: random.normal(size=(4, 3, 3, 5)) for name in "ab"}
    students = {name: random.normal(size=(4, 3, 3, 2)) for name in "cd"}
    loss = AttentionMaps([("a", "c"), ("b", "d"), ("a", "d")])
    assert loss.teacher_layers == ["a", "b"]
    assert loss.student_layers == ["c", "d"]
    expected = sum(naive(teachers[t], students[s]) for t, s in loss.pairs)
    np.testing.assert_allclose(loss(teachers, students), expected, rtol=1e-5)
    scaled = {name: -1e4 * np.flip(m, axis=-1) for name, m in teachers.items()}
    tiny = {name: 1e-4 * m for name, m in students.items()}
    np.testing.assert_allclose(loss(scaled, tiny), expected, rtol=1e-4)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_strength_is_all_of_the_teacher_that_matters(sizes):
    teacher, student = random_maps(sizes)
    loss = AttentionMaps([("t", "s")])
    (size,) = loss.energy_sizes({"t": (None, *teacher.shape[1:])}, {"s": student.shape}).values()
    strength = attention_energy(teacher, size)
    assert strength.shape == (len(teacher), *np.minimum(*sizes), 1)
    expected = float(one_pair(teacher, student, loss=loss))
    assert float(one_pair(strength, student, loss=loss)) == pytest.approx(expected, rel=1e-5)


def test_strength_where_no_single_size_will_do():
    loss = AttentionMaps([("a", "fine"), ("a", "coarse"), ("b", "coarse"), ("c", "any")])
    teacher = dict.fromkeys("abc", (None, 8, 8, 3))
    students = {"fine": (None, 7, 7, 1), "coarse": (None, 2, 3, 1), "any": (None, None, 4, 1)}
    assert loss.energy_sizes(teacher, students) == {"a": None, "b": (2, 3), "c": None}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_dead_and_equal_maps_are_finite(sizes, value_and_gradient):
    maps = random_maps(sizes)
    for teacher in (maps[0], np.zeros_like(maps[0]), np.ones_like(maps[0])):
        for student in (np.zeros_like(maps[1]), np.ones_like(maps[1])):
            value, gradient = value_and_gradient(lambda x, t=teacher: one_pair(t, x), student)
            np.testing.assert_allclose(value, naive(teacher, student), rtol=1e-5, atol=1e-12)
            assert np.isfinite(gradient).all()
    assert np.isnan(one_pair(maps[0], np.full_like(maps[1], np.nan)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_precision(dtype, value_and_gradient):
    teacher, student = random_maps()
    teacher, student = tf.cast(1000 * teacher, dtype), tf.cast(1000 * student, dtype)
    value, gradient = value_and_gradient(lambda x: one_pair(teacher, x), student)
    assert value.dtype == "float32"
    expected = naive(tf.cast(teacher, "float64"), tf.cast(student, "float64"))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert np.isfinite(np.float32(gradient)).all()


def test_teacher_gets_no_gradient():
    teacher, student = map(tf.constant, random_maps())
    with tf.GradientTape() as tape:
        tape.watch([teacher, student])
        value = one_pair(teacher, student)
    to_teacher, to_student = tape.gradient(value, [teacher, student])
    assert to_teacher is None
    assert np.abs(to_student).max() > 0


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_of_unknown_batch_size(jit_compile):
    signature = [tf.TensorSpec([None, 3, 2, 3]), tf.TensorSpec([None, 7, 5, 2])]
    loss = tf.function(one_pair, jit_compile=jit_compile, input_signature=signature)
    for rows in (1, 4):
        maps = random_maps(rows=rows)
        np.testing.assert_allclose(loss(*maps), naive(*maps), rtol=1e-4)


def test_config_round_trip():
    loss = AttentionMaps([("a", "b"), ("trunk/c", "d")], name="look")
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    assert serialized["registered_name"] == "keras_distill>AttentionMaps"
    copy = keras.saving.deserialize_keras_object(serialized)
    assert type(copy) is AttentionMaps
    assert copy.pairs == loss.pairs == (("a", "b"), ("trunk/c", "d"))
    assert copy.get_config() == loss.get_config()
    assert AttentionMaps([("a", "b")]).name == "attention"
    assert loss.build({}, {}) == []


def test_no_pairs():
    with pytest.raises(ValueError, match=r"attention: `pairs=\[\]` is empty; name a layer of each"):
        AttentionMaps([])
