import json

import keras
import numpy as np

from keras_distill.losses.absolute_teacher import AbsoluteTeacher
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.losses.relative_teacher import RelativeTeacher
from keras_distill.methods.distiller import Distiller

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(8) // 2


def build(small_embedder, optimizer):
    distiller = Distiller(
        small_embedder(seed=1, image_size=8),
        teacher=small_embedder(seed=2, image_size=8),
        task_loss=BatchHardTriplet(0.2),
        teacher_losses=[AbsoluteTeacher("sum"), RelativeTeacher("mean", name="shape")],
        task_loss_weight=0.7,
        teacher_loss_weights={"shape": 0.3},
        name="lesson",
    )
    distiller.compile(optimizer)
    return distiller


def test_training_goes_on_in_another_process(small_embedder, tmp_path, run_warm_python):
    distiller = build(small_embedder, keras.optimizers.SGD(0.05, momentum=0.9))
    distiller.fit(IMAGES, LABELS, epochs=2, verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    np.savez(tmp_path / "data.npz", images=IMAGES, labels=LABELS)
    np.savez(tmp_path / "saved.npz", *distiller.get_weights())
    targets = distiller.teacher(IMAGES).numpy()
    np.save(tmp_path / "targets.npy", targets)

    code = """
import json
import sys
from pathlib import Path

import keras
import numpy as np

import keras_distill
from keras_distill import Distiller

folder = Path(sys.argv[1])
data = np.load(folder / "data.npz")
distiller = keras.models.load_model(folder / "distiller.keras")
for name, home in keras_distill._HOME_OF.items():
    if home.startswith("losses.") and name not in ("TaskLoss", "TeacherLoss"):
        assert keras.saving.get_registered_object(f"keras_distill>{name}"), name
assert isinstance(distiller, Distiller)
for weight, saved in zip(distiller.get_weights(), np.load(folder / "saved.npz").values()):
    np.testing.assert_array_equal(weight, saved)
report = {
    "config": distiller.get_config(),
    "momentum": distiller.optimizer.momentum,
    "steps": int(distiller.optimizer.iterations),
    "teacher": distiller.teacher,
}
try:
    distiller.fit(data["images"], data["labels"], verbose=0)
except ValueError as error:
    report["error"] = str(error)
targets = np.load(folder / "targets.npy")
distiller.teacher = lambda images: targets
distiller.fit(data["images"], data["labels"], shuffle=False, verbose=0)
np.savez(folder / "trained.npz", *distiller.get_weights())
print(json.dumps(report))
"""
    report = json.loads(run_warm_python(code, tmp_path))
    assert report["teacher"] is None
    assert "set distiller.teacher (it is not kept by save())" in report["error"]
    assert (report["momentum"], report["steps"]) == (0.9, 2)
    assert report["config"] == json.loads(json.dumps(distiller.get_config()))

    distiller.fit(IMAGES, LABELS, shuffle=False, verbose=0)
    trained = np.load(tmp_path / "trained.npz").values()
    for weight, other in zip(distiller.get_weights(), trained, strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-4, atol=1e-6)


def test_config(small_embedder):
    distiller = build(small_embedder, "adam")
    config = json.dumps(distiller.get_config())
    copy = Distiller.from_config(json.loads(config))
    assert copy.name == "lesson"
    assert copy.teacher is None
    assert copy.task_loss.get_config() == {"margin": 0.2, "name": "triplet"}
    assert [type(loss) for loss in copy.teacher_losses] == [AbsoluteTeacher, RelativeTeacher]
    assert [loss.reduction for loss in copy.teacher_losses] == ["sum", "mean"]
    assert copy.task_loss_weight == 0.7
    assert copy.teacher_loss_weights == {"absolute": 1.0, "shape": 0.3}
    assert json.dumps(copy.get_config()) == config


def test_loss_scaling_survives(small_embedder, tmp_path, dtype_policy):
    dtype_policy("mixed_float16")
    distiller = build(small_embedder, "adam")
    distiller.fit(IMAGES, LABELS, epochs=2, verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    dtype_policy("float32")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    assert loaded.dtype_policy.name == "mixed_float16"
    assert isinstance(loaded.optimizer, keras.optimizers.LossScaleOptimizer)
    variables = loaded.optimizer.variables
    for variable, saved in zip(variables, distiller.optimizer.variables, strict=True):
        np.testing.assert_array_equal(variable, saved)
