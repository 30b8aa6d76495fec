import json
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_distill.losses import registry
from keras_distill.losses.absolute_teacher import AbsoluteTeacher
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.losses.feature_loss import FeatureLoss
from keras_distill.losses.registry import (
    FEATURE_LOSSES,
    SAME_SPACE_LOSSES,
    TASK_LOSSES,
    TEACHER_LOSSES,
    published_weight,
)
from keras_distill.losses.relative_teacher import RelativeTeacher
from keras_distill.losses.task_loss import TaskLoss
from keras_distill.losses.teacher_loss import TeacherLoss

GOLDEN = Path(__file__).parents[1] / "golden"
LOSSES = {"absolute": AbsoluteTeacher(), "relative": RelativeTeacher()}


@pytest.mark.parametrize("case", sorted(path.stem for path in GOLDEN.glob("embdist__total_*")))
def test_reference_total_on_cub(case, value_and_gradient):
    golden = np.load(GOLDEN / f"{case}.npz")
    params = json.loads(str(golden["params_json"]))
    weight = published_weight("cub", params["type"])
    assert weight == params["lamda"]
    triplet, distill = BatchHardTriplet(params["margin"]), LOSSES[params["type"]]
    value, gradient = value_and_gradient(
        lambda x: triplet(golden["labels"], x) + weight * distill(golden["emb_t"], x),
        golden["emb_s"],
    )
    np.testing.assert_allclose(value, golden["loss_f64"], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, golden["grad_emb_s_f64"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("dataset", "loss", "weight"),
    [
        ("cars196", "absolute", 1.5),
        ("cars196", "relative", 0.1),
        ("sop", "absolute", 2.0),
        ("sop", "relative", 1.0),
        ("folder:photos", "relative", 0.3),
        ("cub", "another", 1.0),
    ],
)
def test_other_data_and_losses(dataset, loss, weight):
    assert published_weight(dataset, loss) == weight


@pytest.mark.parametrize("name", TEACHER_LOSSES)
def test_a_family_is_what_the_class_says(name):
    loss = TEACHER_LOSSES[name].load()
    assert issubclass(loss, FeatureLoss if name in FEATURE_LOSSES else TeacherLoss)
    assert getattr(loss, "needs_equal_widths", False) == (name in SAME_SPACE_LOSSES)
    needed = [np.eye(2)] if name == "teacher_head" else []
    made = loss([("a", "b")]) if name in FEATURE_LOSSES else loss(*needed)
    assert made.name == name


@pytest.mark.parametrize("name", TASK_LOSSES)
def test_task_losses_are_registered_with_keras(name):
    loss = TASK_LOSSES[name].load()
    assert issubclass(loss, TaskLoss)
    assert keras.saving.get_registered_object(f"keras_distill>{loss.__name__}") is loss


def test_arguments_of_a_task_loss():
    assert TASK_LOSSES["batch_hard_triplet"].build(classes=None).margin == 0.2
    assert TASK_LOSSES["batch_hard_triplet"].build(classes=None, margin=0.0).margin == 0.0
    arc_face = TASK_LOSSES["arc_face"].build(classes=[3, 5]).get_config()
    assert (arc_face["classes"], arc_face["margin"]) == ([3, 5], 0.5)


def test_every_loss_in_the_folder_is_named():
    code = Path(registry.__file__).parent
    with_losses = {
        ".".join(path.relative_to(code).with_suffix("").parts)
        for path in code.rglob("*.py")
        if "@keras.saving.register_keras_serializable" in path.read_text()
    }
    assert with_losses == {entry.where.rpartition(".")[0] for entry in registry.all_losses()}


def test_reading_it_loads_nothing(run_python):
    code = """
import sys
from keras_distill.losses.registry import FEATURE_LOSSES, TASK_LOSSES, published_weight
assert TASK_LOSSES and FEATURE_LOSSES and published_weight("cub", "relative") == 0.3
print(sorted({"tensorflow", "keras", "numpy"} & set(sys.modules)))
"""
    assert run_python(code) == "[]\n"
