import os
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from rich.console import Console

from keras_distill import InputError
from keras_distill.data.image_set import ImageSet
from keras_distill.models.embedder import build_embedder
from keras_distill.recipes.provenance import check_provenance
from keras_distill.runs.checkpoints import provenance_name
from keras_distill.runs.directory import RunDirectory
from keras_distill.runs.stage import StageContext
from keras_distill.teachers.loading import load_teacher

IMAGES = ImageSet(Path("."), np.array(["a/0.png", "b/0.png"]), np.arange(2), ("a", "b"))
PATHS = {"big": "big.keras", "table": "table.npz"}


@pytest.fixture(scope="module")
def student():
    return build_embedder(
        alpha=0.25, image_size=32, backbone_layer="conv_pw_1_relu", backbone_weights="none"
    )


@pytest.fixture
def teachers(tmp_path, monkeypatch):
    """Writes a teacher that is a model and one that is a table, and loads them."""
    monkeypatch.chdir(tmp_path)

    def write(weight=1.0, vector=1.0):
        image = keras.Input((8, 8, 3), name="image")
        pooled = keras.layers.GlobalAveragePooling2D()(image)
        head = keras.layers.Dense(2, kernel_initializer=keras.initializers.Constant(weight))
        keras.Model(image, head(pooled)).save("big.keras")
        np.savez("table.npz", ids=IMAGES.ids, vectors=np.full((2, 3), vector, np.float32))
        return {name: load_teacher(path) for name, path in PATHS.items()}

    return write


def found(student, teachers, backbone_weights="none", newest=None, **options):
    """What is kept in checkpoints; all but the contents of images is compared with workers."""
    named = ",".join(f"{name}={path}" for name, path in PATHS.items())
    settings = SimpleNamespace(
        teacher=named,
        teacher_losses="relative",
        teacher_head="auto",
        backbone_weights=backbone_weights,
        image_cache="off",
        teacher_cache=options.get("teacher_cache", "off"),
    )
    compared = []
    replicas = SimpleNamespace(
        check_agreement=options.get("check_agreement", lambda found: compared.append(dict(found))),
        is_chief=options.get("is_chief", True),
    )
    images, validation = options.get("images", IMAGES), options.get("validation")
    context = StageContext(RunDirectory("run"), replicas, Console(), newest)
    kept = check_provenance(settings, images, validation, student, teachers, context)
    assert compared == [{provenance_name(key): kept[key] for key in kept if "content" not in key}]
    return kept


def test_workers_that_disagree_are_told_the_setting(student, teachers):
    def disagree(values):
        raise InputError(f"{next(name for name in values if 'big' in name)} is another there.")

    with pytest.raises(InputError, match=f"^`teacher=big={PATHS['big']}` is another"):
        found(student, teachers(), check_agreement=disagree)


@pytest.mark.parametrize(
    ("changed", "name"), [("weight", "teacher/big"), ("vector", "teacher/table")]
)
def test_another_teacher_at_the_same_path(changed, name, student, teachers):
    first = found(student, teachers())
    assert found(student, teachers()) == first  # written anew, and named otherwise by Keras
    other = found(student, teachers(**{changed: -1.0}))
    assert other.keys() == first.keys()
    (differing,) = (key for key in first if first[key] != other[key])
    assert differing == name


def test_another_start_at_the_same_path(student, teachers):
    opened = teachers()
    name = "backbone_weights"
    assert name not in found(student, opened)
    first = found(student, opened, "start.weights.h5")
    assert found(student, opened, "start.weights.h5") == first
    head = student.get_layer("head")  # which is drawn, and not read
    head.set_weights([weight + 1 for weight in head.get_weights()])
    assert found(student, opened, "start.weights.h5")[name] == first[name]
    backbone = student.get_layer("trunk")
    backbone.set_weights([weight + 1 for weight in backbone.get_weights()])
    assert found(student, opened, "start.weights.h5")[name] != first[name]


def test_the_checkpoint_is_asked(student, teachers):
    def refuse(provenance):
        raise InputError(f"{len(provenance)} differ")

    with pytest.raises(InputError, match="4 differ"):
        found(student, teachers(), newest=SimpleNamespace(check_provenance=refuse))


def test_contents_are_known_by_times_or_where_a_cache_reads_them_by_their_hash(
    student, teachers, tmp_path
):
    opened = teachers()
    images = ImageSet(tmp_path, np.array(["big.keras", "table.npz"]), np.arange(2), ("a", "b"))
    os.utime(tmp_path / "table.npz", (1, 1))
    names = ["train_content", "validation_content"]

    def contents(**options):
        kept = found(student, opened, images=images, validation=images, **options)
        return [kept.get(name) for name in names]

    times, hashed = contents(), contents(teacher_cache="views:2")
    assert contents(is_chief=False) == [None, None]
    os.utime(tmp_path / "table.npz", (2, 2))
    assert [old == new for old, new in zip(times, contents(), strict=True)] == [False, False]
    again = contents(teacher_cache="views:2")
    assert [old == new for old, new in zip(hashed, again, strict=True)] == [True, False]
