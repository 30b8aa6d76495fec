import re
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.losses.absolute_teacher import AbsoluteTeacher
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.losses.relative_teacher import RelativeTeacher
from keras_distill.methods.distiller import Distiller


class Subclass(keras.Model):
    def call(self, x):
        return x


def functional(inputs, outputs):
    return keras.Model(inputs, outputs, name="own")


def two_inputs():
    one, other = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    return functional([one, other], keras.layers.GlobalAveragePooling2D()(one + other))


def two_outputs():
    image = keras.Input((8, 8, 3))
    return functional(image, [keras.layers.GlobalAveragePooling2D()(image)] * 2)


def feature_map():
    image = keras.Input((8, 8, 3))
    return functional(image, keras.layers.Conv2D(4, 3)(image))


def open_width():
    vector = keras.Input((None,))
    return functional(vector, vector)


RIGHT_STUDENT = "must be a functional or sequential model with one input and one output"
A_LIST = "is not a list of losses; give a list such as [RelativeTeacher()]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"student": "s.keras"}, "`student='s.keras'` is not a Keras model; load it first"),
        ({"student": Path("s")}, "is not a Keras model; load it first"),
        ({"student": None}, "`student=None` is not a Keras model; give a keras.Model"),
        ({"student": len}, "`student=a builtin_function_or_method` is not a Keras model"),
        ({"student": Subclass}, "`student=the class Subclass` is not a Keras model"),
        (
            {"student": Subclass(name="own")},
            f"`student` 'own' has no input shape yet; it {RIGHT_STUDENT}",
        ),
        ({"student": keras.Sequential([keras.layers.Flatten()])}, "has no input shape yet"),
        ({"student": two_inputs()}, "(None, 8, 8, 3) and (None, 8, 8, 3) to (None, 3); it must"),
        ({"student": two_outputs()}, "to (None, 3) and (None, 3); it must be"),
        ({"student": feature_map()}, "to (None, 6, 6, 4); it must be"),
        ({"student": open_width()}, "to (None, None); it must be"),
        ({"teacher": "t.keras"}, "`teacher='t.keras'` is neither a Keras model"),
        ({"teacher": Path("t")}, "nor callable on a batch of images; load it first, with load_tea"),
        ({"teacher": Subclass()}, "it must be functional, with one input of square RGB images"),
        ({"task_loss": "triplet"}, "`task_loss='triplet'` is not a loss on labels and embeddings"),
        (
            {"task_loss": BatchHardTriplet},
            "`task_loss=the class BatchHardTriplet` is not a loss on",
        ),
        ({"task_loss": RelativeTeacher()}, "`task_loss=a RelativeTeacher` is not a loss on labels"),
        ({"task_loss": keras.losses.MeanSquaredError()}, "give an object such as BatchHardTriplet"),
        ({"task_loss": [BatchHardTriplet()]}, "is not a loss on labels and embeddings"),
        ({"teacher_losses": RelativeTeacher()}, f"`teacher_losses=a RelativeTeacher` {A_LIST}"),
        ({"teacher_losses": "relative"}, f"`teacher_losses='relative'` {A_LIST}"),
        (
            {"teacher_losses": ["relative"]},
            "`teacher_losses` holds 'relative', which is not a loss",
        ),
        ({"teacher_losses": [RelativeTeacher]}, "`teacher_losses` holds the class RelativeTeacher"),
        ({"teacher_losses": [BatchHardTriplet()]}, "`teacher_losses` holds a BatchHardTriplet"),
        ({"teacher_losses": {"relative": 0.3}}, f"`teacher_losses['relative']=0.3` {A_LIST}"),
        (
            {"teacher_losses": ()},
            "`teacher` is given, but no `teacher_losses`: it would teach nothing",
        ),
        ({"task_loss_weight": None}, "`task_loss_weight=None` must be a finite number"),
        ({"task_loss_weight": "1"}, "`task_loss_weight='1'` must be a finite number"),
        ({"teacher_loss_weights": 0.3}, "`teacher_loss_weights=0.3` must be a list of numbers in"),
        ({"teacher_loss_weights": "0.3"}, "`teacher_loss_weights='0.3'` must be a list of numbers"),
        (
            {"teacher_loss_weights": [None]},
            "`teacher_loss_weights[0]=None` must be a finite number",
        ),
        (
            {"teacher_loss_weights": {"relative": float("nan")}},
            "['relative']=nan` must be a finite",
        ),
        ({"teacher_loss_weights": {"triplet": 1}}, "`task_loss_weight` is the weight of the task"),
        ({"student_projection": "student"}, "`student_projection='student'` is not a Keras layer"),
        ({"student_projection": {"a": 512}}, "`student_projection=512` is not a Keras layer"),
    ],
)
def test_arguments_of_another_kind(arguments, message, small_embedder):
    right = {
        "student": small_embedder(image_size=8),
        "teacher": small_embedder(image_size=8),
        "task_loss": BatchHardTriplet(),
        "teacher_losses": [RelativeTeacher()],
    }
    arguments = right | arguments
    with pytest.raises(InputError, match=re.escape(message)):
        Distiller(arguments.pop("student"), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("adam", "mse"), r"compile\(loss='mse'\) would not be used; .*task_loss=\.\.\., such as"),
        (("adam", None, {"relative": 2}), r"compile\(loss_weights=.*give Distiller task_loss_we"),
        ((None,), r"compile\(optimizer=None\) is not an optimizer; give one such as keras.opt"),
        ((keras.optimizers.Adam,), "is not an optimizer; give one such as"),
        ((0.001,), r"compile\(optimizer=0.001\) is not an optimizer"),
    ],
)
def test_compile_takes_an_optimizer_and_no_loss(arguments, message, small_embedder):
    distiller = Distiller(small_embedder(image_size=8), task_loss=BatchHardTriplet())
    with pytest.raises(InputError, match=message):
        distiller.compile(*arguments)


def test_what_is_right_passes(small_embedder):
    vectors = keras.Input((6,))
    student = functional(vectors, keras.layers.Dense(4)(vectors))  # needs no images
    weights = np.array([0.5, 2])
    losses = [RelativeTeacher(), AbsoluteTeacher()]
    distiller = Distiller(student, teacher_losses=losses, teacher_loss_weights=weights)
    assert distiller.teacher_loss_weights == {"relative": 0.5, "absolute": 2}
