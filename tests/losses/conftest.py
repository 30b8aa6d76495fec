import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

FIRST = 2**24  # float32 cannot tell the labels from here on apart
DIM = 4


def random_batch(rows=12, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(-1, 4, rows)
    return np.where(labels < 0, -1, labels + FIRST), np.float32(random.normal(size=(rows, DIM)))


def value_and_gradient(loss, targets, embeddings, **others):
    embeddings = tf.convert_to_tensor(embeddings)
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        value = loss(targets, embeddings, **others)
    gradient = tape.gradient(value, embeddings, unconnected_gradients="zero")
    return value.numpy(), gradient.numpy()


def is_finite_for_degenerate_batches(loss):
    for labels, embeddings in (
        ([0, 0, 1, 1], np.zeros((4, DIM))),
        ([0, 0, 1, 1], np.ones((4, DIM))),
        ([0, 0, 1, 1], [[1, 0, 0, 0], [-1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]),
        ([0, 0, 0], np.eye(3, DIM)),
        ([0, 1, 2], np.eye(3, DIM)),
        ([0], np.ones((1, DIM))),
        ([0, 0, 1], [[1e18] * DIM, [0] * DIM, [1e-18] * DIM]),
        ([-1, -1], np.eye(2, DIM)),
    ):
        labels = np.array(labels)
        labels = np.where(labels < 0, -1, labels + FIRST)
        value, gradient = value_and_gradient(loss, labels, np.float32(embeddings))
        assert np.isfinite(value), embeddings
        assert np.isfinite(gradient).all(), embeddings
        assert (labels >= 0).any() or value == 0


def does_not_hide_nan(loss):
    labels, embeddings = random_batch()
    assert np.isnan(loss(labels, np.full_like(embeddings, np.nan)))


def takes_half_precision(loss):
    labels, embeddings = random_batch()
    for dtype in ("float16", "bfloat16"):
        rounded = tf.cast(embeddings, dtype)
        value, gradient = value_and_gradient(loss, labels, rounded)
        assert value.dtype == "float32"
        np.testing.assert_allclose(value, loss(labels, tf.cast(rounded, "float32")), rtol=1e-6)
        assert np.isfinite(np.float32(gradient)).all()


def ignores_unlabelled_rows(loss):
    labels, embeddings = random_batch()
    labelled = labels >= 0
    assert not labelled.all()
    value, gradient = value_and_gradient(loss, labels, embeddings)
    assert value > 0
    np.testing.assert_array_equal(gradient[~labelled], 0)
    np.testing.assert_allclose(value, loss(labels[labelled], embeddings[labelled]), rtol=1e-5)


def compiles_for_any_batch_size(loss):
    for jit_compile in (False, True):
        compiled = tf.function(
            lambda labels, embeddings: value_and_gradient_in_graph(loss, labels, embeddings),
            jit_compile=jit_compile,
            input_signature=[tf.TensorSpec([None], "int64"), tf.TensorSpec([None, DIM])],
        )
        for rows in (9, 12):
            labels, embeddings = random_batch(rows)
            value, gradient = value_and_gradient(loss, labels, embeddings)
            compiled_value, compiled_gradient = compiled(labels, embeddings)
            np.testing.assert_allclose(compiled_value, value, rtol=1e-5)
            np.testing.assert_allclose(compiled_gradient, gradient, rtol=1e-3, atol=1e-5)


def value_and_gradient_in_graph(loss, labels, embeddings):
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        value = loss(labels, embeddings)
    return value, tape.gradient(value, embeddings)


def survives_serialisation(loss):
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    assert serialized["registered_name"] == f"keras_distill>{type(loss).__name__}"
    copy = keras.saving.deserialize_keras_object(serialized)
    assert copy.get_config() == loss.get_config()
    if loss.layer is not None:
        copy.build(DIM)
        copy.layer.set_weights(loss.layer.get_weights())
    assert copy(*random_batch()) == loss(*random_batch())


def compares_with_references_if_it_can(loss):
    labels, embeddings = random_batch()
    references = {"ref_labels": np.full(5, -1), "ref_embeddings": np.zeros((5, DIM), "float32")}
    if loss.takes_references:
        value, gradient = value_and_gradient(loss, labels, embeddings, **references)
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)
    else:
        with pytest.raises(ValueError, match="give no"):
            loss(labels, embeddings, **references)


CHECKS = [
    is_finite_for_degenerate_batches,
    does_not_hide_nan,
    takes_half_precision,
    ignores_unlabelled_rows,
    pytest.param(compiles_for_any_batch_size, marks=pytest.mark.slow),
    survives_serialisation,
    compares_with_references_if_it_can,
]


@pytest.fixture(params=CHECKS, ids=lambda check: check.__name__)
def contract(request):
    """What every task loss must do, for embeddings of width 4 and labels 2**24 to 2**24 + 3."""
    return request.param


@pytest.fixture(params=range(4))
def batch(request):
    """Labels from 2**24 to 2**24 + 3 with some -1, embeddings `(12, 4)` and sample weights."""
    labels, embeddings = random_batch(seed=request.param)
    return labels, embeddings, np.random.default_rng(request.param).uniform(0, 3, len(labels))


@pytest.fixture
def references():
    """Labels from 2**24 to 2**24 + 3 with some -1 and embeddings `(15, 4)` to compare with."""
    labels, embeddings = random_batch(rows=15, seed=100)
    return {"ref_labels": labels, "ref_embeddings": embeddings}


def central_differences(function, matrix, step=1e-6):
    matrix = np.float64(matrix)
    gradient = np.zeros_like(matrix)
    for index in np.ndindex(matrix.shape):
        moved = [matrix.copy(), matrix.copy()]
        moved[0][index] -= step
        moved[1][index] += step
        low, high = map(function, moved)
        gradient[index] = (high - low) / (2 * step)
    return gradient


@pytest.fixture(scope="session")
def numeric_gradient():
    """Computes the gradient of a function of a matrix by central differences in float64."""
    return central_differences


@dataclass
class TeacherCase:
    """A loss on a teacher's and a student's embeddings, and the loops that it has to equal."""

    reduction: str
    loss_class: type
    naive: Callable
    name: str  # by default
    min_width: int = 1
    equal_widths: bool = False
    imitates: bool = True  # whether a student that equals its teacher has reached its aim
    atol: float = 1e-5

    @property
    def loss(self):
        loss = self.loss_class(reduction=self.reduction)

        def call(teacher, student, sample_weight=None):
            with tf.init_scope():  # variables cannot be made in a graph
                loss.build(teacher.shape[-1], student.shape[-1])
            return loss(teacher, student, sample_weight)

        return call

    def expected(self, teacher, student, sample_weight=None):
        return self.naive(teacher, student, reduction=self.reduction, sample_weight=sample_weight)

    @property
    def widths(self):
        return (4, 4) if self.equal_widths else (4, 3)

    @property
    def any_widths(self):
        width = st.integers(self.min_width, 12)
        return width.map(lambda w: (w, w)) if self.equal_widths else st.tuples(width, width)


def equals_loops(case):
    @settings(max_examples=15)
    @given(n=st.integers(1, 7), widths=case.any_widths, seed=st.integers(0, 2**32 - 1))
    def check(n, widths, seed):
        random = np.random.default_rng(seed)
        teacher, student = (np.float32(random.normal(size=(n, width))) for width in widths)
        for sample_weight in (None, random.uniform(0, 3, n)):
            np.testing.assert_allclose(
                case.loss(teacher, student, sample_weight),
                case.expected(teacher, student, sample_weight),
                rtol=1e-4,
                atol=case.atol,
            )

    check()


def has_the_difference_quotient_as_gradient(case):
    random = np.random.default_rng(0)
    teacher, student = (random.normal(size=(5, width)) for width in case.widths)
    weight = random.uniform(0, 3, 5)
    _, gradient = value_and_gradient(case.loss, teacher, np.float32(student), sample_weight=weight)
    expected = central_differences(lambda x: case.expected(teacher, x, weight), student, 1e-5)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


DEGENERATE = {
    "zeros": np.zeros((4, 3)),
    "equal": np.ones((4, 3)),
    "one row": np.ones((1, 3)),
    "one zero row": np.zeros((1, 3)),
    "two rows": np.eye(2, 3),
    "two equal rows": np.ones((2, 3)),
    "duplicates": np.repeat([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [3.0, 1.0, 2.0]], 2, axis=0),
}


def is_finite_for_degenerate_students(case, student):
    student = np.float32(DEGENERATE[student])
    for teacher in (student, np.float32(np.random.default_rng(0).normal(size=student.shape))):
        for weight in (None, np.zeros(len(student))):
            value, gradient = value_and_gradient(case.loss, teacher, student, sample_weight=weight)
            expected = case.expected(teacher, student, weight)
            np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)
            assert np.isfinite(gradient).all()
            if (teacher is student and case.imitates) or weight is not None:
                np.testing.assert_allclose(gradient, 0, atol=1e-6)
    for teacher in DEGENERATE.values():
        if teacher.shape == student.shape:
            value, gradient = value_and_gradient(case.loss, teacher, student)
            assert np.isfinite(value)
            assert np.isfinite(gradient).all()


def gives_rows_of_weight_zero_no_part(case):
    random = np.random.default_rng(0)
    teacher, student, other = np.float32(random.normal(size=(3, 5, 4)))
    weight = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    kept = weight > 0
    value, gradient = value_and_gradient(case.loss, teacher, student, sample_weight=weight)
    np.testing.assert_array_equal(gradient[~kept], 0)
    changed = np.where(kept[:, None], student, other)
    np.testing.assert_allclose(case.loss(teacher, changed, weight), value, rtol=1e-5)
    if case.reduction == "sum":
        np.testing.assert_allclose(case.loss(teacher[kept], student[kept]), value, rtol=1e-5)


def computes_in_float32(case, dtype):
    teacher, student = np.random.default_rng(0).normal(size=(2, 12, 64))
    student = tf.cast(student, dtype)
    value = case.loss(teacher, student)
    assert value.dtype == "float32"
    expected = case.expected(teacher, tf.cast(student, "float64"))
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def gives_the_teacher_no_gradient(case):
    teacher, student = tf.random.normal((2, 4, 3), seed=0)
    with tf.GradientTape() as tape:
        tape.watch([teacher, student])
        value = case.loss(teacher, student)
    to_teacher, to_student = tape.gradient(value, [teacher, student])
    assert to_teacher is None
    assert np.abs(to_student).max() > 0


def runs_as_a_graph_of_unknown_batch_size(case, compiler):
    signature = [tf.TensorSpec([None, width]) for width in case.widths]
    loss = tf.function(case.loss, jit_compile=compiler == "XLA", input_signature=signature)
    for rows in (3, 5):
        random = np.random.default_rng(rows)
        teacher, student = (np.float32(random.normal(size=(rows, w))) for w in case.widths)
        expected = case.expected(teacher, student)
        np.testing.assert_allclose(loss(teacher, student), expected, rtol=1e-4)


def has_a_config(case):
    loss = case.loss_class(reduction=case.reduction, name="own")
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    copy = keras.saving.deserialize_keras_object(serialized)
    assert type(copy) is case.loss_class
    config = loss.get_config()
    assert copy.get_config() == config
    assert (config["reduction"], config["name"]) == (case.reduction, "own")
    assert config.keys() == inspect.signature(case.loss_class).parameters.keys()
    assert sorted(case.loss_class.reductions) == ["mean", "sum"]
    default = case.loss_class()
    assert default.name == case.name
    default.build(4, 4)
    teacher, student = np.random.default_rng(0).normal(size=(2, 5, 4))
    expected = case.naive(teacher, student)
    np.testing.assert_allclose(default(teacher, student), expected, rtol=1e-4)


TEACHER_CHECKS = [
    (equals_loops,),
    (has_the_difference_quotient_as_gradient,),
    *product([is_finite_for_degenerate_students], DEGENERATE),
    (gives_rows_of_weight_zero_no_part,),
    *product([computes_in_float32], ["float16", "bfloat16", "float32"]),
    (gives_the_teacher_no_gradient,),
    *product([runs_as_a_graph_of_unknown_batch_size], ["TensorFlow", "XLA"]),
    (has_a_config,),
]


def name_of_teacher_check(param):
    (check, *arguments), reduction = param
    return "-".join([check.__name__, *arguments, reduction])


@pytest.fixture(
    params=[
        pytest.param(each, marks=[pytest.mark.slow] if "XLA" in each[0] else [])
        for each in product(TEACHER_CHECKS, ["mean", "sum"])
    ],
    ids=name_of_teacher_check,
)
def teacher_contract(request):
    """What a loss on embeddings of teacher and student must do; takes a `TeacherCase`'s rest."""
    (check, *arguments), reduction = request.param

    def run(loss_class, naive, **others):
        check(TeacherCase(reduction, loss_class, naive, **others), *arguments)

    return run
