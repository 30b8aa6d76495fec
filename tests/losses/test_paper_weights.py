import json
from pathlib import Path

import numpy as np
import pytest

from keras_distill.losses.absolute_teacher import AbsoluteTeacher
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.losses.paper_weights import paper_weight
from keras_distill.losses.relative_teacher import RelativeTeacher

GOLDEN = Path(__file__).parents[1] / "golden"
TEACHER_LOSSES = {"absolute": AbsoluteTeacher(), "relative": RelativeTeacher()}


@pytest.mark.parametrize("case", sorted(path.stem for path in GOLDEN.glob("embdist__total_*")))
def test_reference_total_on_cub(case, value_and_gradient):
    golden = np.load(GOLDEN / f"{case}.npz")
    params = json.loads(str(golden["params_json"]))
    weight = paper_weight("cub", params["type"])
    assert weight == params["lamda"]
    triplet, distill = BatchHardTriplet(params["margin"]), TEACHER_LOSSES[params["type"]]
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
    assert paper_weight(dataset, loss) == weight
