import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_distill.losses.absolute_teacher import AbsoluteTeacher
from keras_distill.losses.relative_teacher import RelativeTeacher
from keras_distill.losses.teacher_loss import TeacherLoss


class Product(TeacherLoss):
    """Sum of products; remembers what it was called with."""

    def call(self, teacher_outputs, student_outputs, sample_weight=None):
        self.arguments = teacher_outputs, student_outputs, sample_weight
        return ops.sum(teacher_outputs * student_outputs)


def test_call_gets_float32():
    loss = Product()
    value = loss(np.ones((2, 3), "float16"), tf.ones((2, 3), "bfloat16"), [[1], [2]])
    assert value == 6
    assert [tensor.dtype for tensor in loss.arguments] == ["float32"] * 3
    np.testing.assert_array_equal(loss.arguments[2], [1, 2])


@pytest.mark.parametrize("loss", [Product(), AbsoluteTeacher(), RelativeTeacher()])
def test_teacher_gets_no_gradient(loss):
    teacher, student = tf.random.normal((2, 4, 3), seed=0)
    with tf.GradientTape() as tape:
        tape.watch([teacher, student])
        value = loss(teacher, student)
    to_teacher, to_student = tape.gradient(value, [teacher, student])
    assert to_teacher is None
    assert np.abs(to_student).max() > 0


@pytest.mark.parametrize("loss", [AbsoluteTeacher, RelativeTeacher, Product])
def test_unknown_reduction(loss):
    with pytest.raises(ValueError, match=f"{loss.__name__}: `reduction='none'` is not one of "):
        loss(reduction="none")


def test_config():
    assert Product("sum", name="p").get_config() == {"reduction": "sum", "name": "p"}


def test_subclass_without_call():
    with pytest.raises(ValueError, match=r"Empty must implement call\(\)"):
        type("Empty", (TeacherLoss,), {})()([[1.0]], [[1.0]])
