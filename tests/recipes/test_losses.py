import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.losses.cross_batch_memory import CrossBatchMemory
from keras_distill.losses.feature_loss import FeatureLoss
from keras_distill.losses.registry import (
    FEATURE_LOSSES,
    SAME_SPACE_LOSSES,
    TASK_LOSSES,
    TEACHER_LOSSES,
)
from keras_distill.losses.self_distillation import SelfDistillation
from keras_distill.losses.teacher_references import TeacherReferences
from keras_distill.methods.distiller import Distiller
from keras_distill.recipes.losses import build_task_loss, build_teacher_losses, with_anchors
from keras_distill.settings.command import Command
from keras_distill.settings.distill import DistillSettings, LossSettings
from keras_distill.settings.teacher_losses import parse_teacher_losses
from keras_distill.settings.teachers import TeacherSettings, parse_layer_pairs
from keras_distill.teachers.teacher import as_teacher
from keras_distill.teachers.vector_table import VectorTable

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
LABELS = np.arange(8) // 2 + 2**24
CLASSES = np.arange(4) + 2**24
WITHOUT_MARGIN = {
    "soft_triplet",
    "contrastive",
    "multi_similarity",
    "n_pairs",
    "normalized_softmax",
    "tfa:npairs",
}
ADDONS = {name for name in TASK_LOSSES if name.startswith("tfa:")}
# TensorFlow Addons exists for Python 3.11 only.
HERE = [name for name in TASK_LOSSES if name not in ADDONS or sys.version_info < (3, 12)]
CLASS_VECTORS = {"proxy_anchor", "normalized_softmax", "arc_face"}


COMMAND = Command("test", "doc", DistillSettings)


def parse(*given):
    # Teachers are made here.
    return COMMAND.parse(["--dataset=glyphs", "--teacher=", "--backbone_weights=none", *given])


def task_loss(name, *given):
    settings = parse(f"--task_loss={name}", *given)
    settings.check()
    return build_task_loss(settings, CLASSES)


def net(channels, seed, strides=(2, 2, 2, 2)):
    """An embedder of stages `stage0` to `stage3`, with maps of 16 to 2 pixels."""
    keras.utils.set_random_seed(seed)
    image = x = keras.Input((32, 32, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    for i, stride in enumerate(strides):
        x = keras.layers.Conv2D(
            channels, 3, stride, padding="same", activation="tanh", name=f"stage{i}"
        )(x)
    x = keras.layers.GlobalAveragePooling2D(name="pooling")(x)
    x = keras.layers.Dense(4, name="head")(x)
    return keras.Model(image, keras.layers.UnitNormalization()(x), name="net")


def train(distiller, steps=1):
    distiller.compile("sgd", run_eagerly=True)
    before = distiller.student.get_weights()
    for _ in range(steps):
        logs = distiller.train_on_batch(IMAGES, LABELS, return_dict=True)
    assert np.isfinite(list(logs.values())).all()
    after = distiller.student.get_weights()
    assert all(np.isfinite(weight).all() for weight in after)
    assert not np.array_equal(after[0], before[0])
    return logs


# Task losses


@pytest.mark.quick(5)
@pytest.mark.parametrize("name", HERE)
def test_every_task_loss_trains(name, small_embedder):
    loss = task_loss(name)
    entry = TASK_LOSSES[name]
    assert type(loss).__name__ == entry.where.rpartition(".")[2]
    config = loss.get_config()
    if entry.margin is not None:
        assert config["margin"] == entry.margin
    if entry.needs_classes:
        assert config["classes"] == CLASSES.tolist()
    for key, value in entry.fixed.items():
        assert config[key] == value
    logs = train(Distiller(small_embedder(), task_loss=loss))
    assert logs.keys() == {"loss", loss.name}
    assert logs["loss"] > 0


def test_no_task_loss():
    assert build_task_loss(parse("--task_loss=none"), CLASSES) is None


@pytest.mark.parametrize("name", sorted(set(HERE) - WITHOUT_MARGIN))
def test_margin_is_that_of_the_flag(name):
    assert task_loss(name, "--margin=0.375").get_config()["margin"] == 0.375
    assert task_loss(name, "--margin=0").get_config()["margin"] == 0


@pytest.mark.parametrize("name", sorted(WITHOUT_MARGIN | {"none"}))
def test_margin_of_a_loss_that_has_none(name):
    with pytest.raises(InputError) as error:
        task_loss(name, "--margin=0.375")
    assert str(error.value) == (
        f"--margin=0.375: --task_loss={name} has no margin to set; leave it out."
    )


@pytest.mark.parametrize("name", sorted(set(TASK_LOSSES) - CLASS_VECTORS - ADDONS))
def test_memory(name):
    loss = task_loss(name, "--memory=24")
    assert type(loss) is CrossBatchMemory
    assert (loss.size, loss.name) == (24, task_loss(name).name)
    assert loss.loss.get_config() == task_loss(name).get_config()


@pytest.mark.parametrize("name", sorted(CLASS_VECTORS))
def test_memory_of_a_loss_that_compares_no_images(name):
    with pytest.raises(InputError) as error:
        task_loss(name, "--memory=24")
    said = f"--memory=24: --task_loss={name} compares images with class vectors"
    assert str(error.value).startswith(said)


@pytest.mark.parametrize("name", sorted(ADDONS & set(HERE)))
def test_memory_of_a_loss_within_batches(name):
    with pytest.raises(InputError) as error:
        task_loss(name, "--memory=24")
    assert str(error.value) == (
        f"--memory=24: --task_loss={name} compares the images of a batch with each other alone; "
        "leave the memory out."
    )


@pytest.mark.parametrize("name", sorted(set(HERE) - CLASS_VECTORS - ADDONS))
@pytest.mark.parametrize("references", ["teacher", "both"])
def test_references(name, references):
    loss = build_task_loss(parse(f"--task_loss={name}", f"--references={references}"), CLASSES)
    assert type(loss) is TeacherReferences
    assert (loss.teacher, loss.and_batch) == ("", references == "both")
    assert loss.loss.get_config() == task_loss(name).get_config()


@pytest.mark.parametrize("name", sorted(CLASS_VECTORS | ADDONS & set(HERE)))
def test_references_of_a_loss_that_takes_none(name):
    settings = parse(f"--task_loss={name}", "--references=teacher")
    with pytest.raises(InputError, match=rf"--references=teacher: --task_loss={name} compares"):
        LossSettings.check(settings)


@pytest.mark.parametrize("name", HERE)
def test_the_registry_knows_which_losses_take_references(name):
    assert TASK_LOSSES[name].takes_references == task_loss(name).takes_references


@pytest.mark.parametrize("name", ["batch_hard_triplet", "proxy_anchor"])
def test_heads(name):
    loss = task_loss(name, "--self_distillation=5,6", "--self_distillation_weight=3")
    assert type(loss) is SelfDistillation
    assert (loss.dims, loss.weight, loss.student_layer) == ([5, 6], 3.0, "trunk")
    assert loss.loss.get_config() == task_loss(name).get_config()
    assert type(task_loss(name)) is not SelfDistillation


def test_memory_holds_the_last_batches(small_embedder):
    loss = task_loss("batch_hard_triplet", "--memory=24", "--margin=0.5")
    train(Distiller(small_embedder(), task_loss=loss), steps=2)
    embeddings, labels = loss.layer.get_weights()
    assert labels.tolist() == [*LABELS, *LABELS, *[-1] * 8]
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), [1] * 16 + [0] * 8, atol=1e-5)


# Teacher losses


@pytest.fixture(scope="module")
def student():
    return net(3, seed=1)


@pytest.fixture(scope="module")
def teacher():
    return as_teacher(net(4, seed=2))


def teacher_losses(value, teachers, student, *given):
    settings = parse(f"--teacher_losses={value}", *given)
    TeacherSettings.check(settings)
    weights = parse_teacher_losses(value, "glyphs", list(teachers))
    return build_teacher_losses(settings, weights, teachers, student)


def test_every_teacher_loss_trains(student, teacher):
    losses = teacher_losses(",".join(TEACHER_LOSSES), {"": teacher}, student)[""]
    assert [loss.name for loss in losses] == list(TEACHER_LOSSES)
    for loss in losses:
        where = TEACHER_LOSSES[loss.name].where
        assert type(loss).__name__ == where.rpartition(".")[2]
        assert isinstance(loss, FeatureLoss) == (loss.name in FEATURE_LOSSES)
        assert getattr(loss, "needs_equal_widths", False) == (loss.name in SAME_SPACE_LOSSES)
    logs = train(Distiller(student, teacher=teacher, teacher_losses=losses))
    assert logs.keys() == {"loss", *TEACHER_LOSSES}
    assert min(logs.values()) > 0


def test_stages_are_paired_by_default(student, teacher):
    attention, hint = teacher_losses("attention,hint", {"": teacher}, student)[""]
    assert attention.pairs == tuple((f"stage{i}", f"stage{i}") for i in (1, 2, 3))
    assert hint.pairs == (("stage2", "stage2"),)
    steep = net(3, seed=3, strides=(8,))
    attention, hint = teacher_losses("attention,hint", {"": teacher}, steep)[""]
    assert attention.pairs == hint.pairs == (("stage2", "stage0"),)


def test_each_teacher_has_losses_of_its_own(student, teacher):
    teachers = {"a": teacher, "b": as_teacher(net(2, seed=4, strides=(4, 4)))}
    losses = teacher_losses("a.relative,b.attention,b.hint", teachers, student)
    assert [loss.name for loss in losses["a"]] == ["relative"]
    assert [loss.name for loss in losses["b"]] == ["attention", "hint"]
    assert losses["b"][0].pairs == (("stage1", "stage3"),)


def test_layers_of_the_flags(student, teacher):
    given = ("--hint_layers=stage0:stage1", "--attention_layers=stage3:stage1,stage1:stage1")
    names = "relative,attention,hint"
    relative, attention, hint = teacher_losses(names, {"": teacher}, student, *given)[""]
    assert hint.pairs == (("stage0", "stage1"),)
    assert attention.pairs == (("stage3", "stage1"), ("stage1", "stage1"))
    train(Distiller(student, teacher=teacher, teacher_losses=[relative, attention, hint]))


@pytest.mark.parametrize("loss", sorted(FEATURE_LOSSES))
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            "foo:stage1",
            "`teacher_layer='foo'` is not a layer of `teacher` 'net' with a feature map",
        ),
        (
            "stage1:bar",
            "`student_layer='bar'` is not a layer of `student` 'net' with a feature map",
        ),
        (
            "stage1:stage1,stage2:bar",
            "`student_layer='bar'` is not a layer of `student` 'net' with",
        ),
        (
            "head:stage1",
            "`teacher_layer='head'` is not a layer of `teacher` 'net' with a feature map",
        ),
        (
            "stage1:pooling",
            "`student_layer='pooling'` is not a layer of `student` 'net' with a feat",
        ),
    ],
)
def test_wrong_layers_name_the_flag_and_the_candidates(student, teacher, loss, value, said):
    with pytest.raises(InputError) as error:
        teacher_losses(loss, {"": teacher}, student, f"--{loss}_layers={value}")
    assert str(error.value).startswith(f"`{loss}_layers={value}`: {said}")
    assert str(error.value).endswith(", stage0, stage1, stage2, stage3.")


@pytest.mark.parametrize("loss", sorted(FEATURE_LOSSES))
@pytest.mark.parametrize("given", [(), ("--hint_layers=a:b", "--attention_layers=a:b")])
def test_a_teacher_without_layers(student, loss, given):
    for teacher in (
        as_teacher(lambda images: tf.reduce_mean(images, [1, 2])),
        VectorTable(np.arange(2), np.eye(2)),
    ):
        with pytest.raises(InputError) as error:
            teacher_losses(f"relative,{loss}", {"": teacher}, student, *given)
        assert str(error.value).startswith(
            f"`teacher_losses=relative,{loss}`: {loss} needs a teacher that is a Keras model"
        )


@pytest.mark.parametrize("loss", sorted(FEATURE_LOSSES))
def test_no_stage_in_common(student, loss):
    flat = as_teacher(net(2, seed=5, strides=(32,)))
    with pytest.raises(InputError) as error:
        teacher_losses(loss, {"": flat}, student)
    assert str(error.value) == (
        f"`{loss}_layers` is empty: `teacher` 'net' has stages of stride [32], `student` 'net' of "
        "[2, 4, 8, 16]: none in common; name the layers to compare."
    )


@pytest.mark.parametrize(
    ("value", "pairs"),
    [
        ("", []),
        ("a:b", [("a", "b")]),
        ("trunk/a:b,c:trunk/d", [("trunk/a", "b"), ("c", "trunk/d")]),
    ],
)
def test_layer_pairs(value, pairs):
    assert parse_layer_pairs("hint_layers", value) == pairs


@pytest.mark.parametrize("flag", ["hint_layers", "attention_layers"])
@pytest.mark.parametrize(
    ("value", "part"),
    [("a", "a"), ("a:b:c", "a:b:c"), (":b", ":b"), ("a:", "a:"), ("a:b,", ""), ("a:b,c", "c")],
)
def test_unusable_layer_pairs_are_refused_early(flag, value, part):
    with pytest.raises(InputError) as error:
        TeacherSettings.check(parse(f"--{flag}={value}"))
    assert str(error.value) == (
        f"--{flag}={value}: {part!r} is not TEACHER:STUDENT, two names of layers."
    )


# Anchors


def test_anchors_of_the_flag(student, teacher):
    (queued,) = teacher_losses("anchor_kl", {"": teacher}, student, "--anchors=queue:24")[""]
    assert (queued.queue, queued.anchors) == (24, None)
    waiting = teacher_losses("relative,anchor_kl", {"": teacher}, student)[""]
    vectors = np.float32(np.random.default_rng(0).normal(size=(5, 4)))
    relative, given = with_anchors(waiting, lambda: vectors)
    assert relative is waiting[0]
    assert given.queue is None
    np.testing.assert_array_equal(given.anchors, vectors)
    train(Distiller(student, teacher=teacher, teacher_losses=[given]))


def test_anchors_are_made_for_losses_that_take_them_alone(student, teacher):
    losses = teacher_losses("relative,absolute", {"": teacher}, student)[""]
    assert with_anchors(losses, lambda: pytest.fail("made")) == losses
