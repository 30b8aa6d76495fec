"""Schedules, averages, freezing, clipping and early stopping, by the flags of `train`."""

import json
import signal
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_distill.data.image_set import read_folder
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.embedding.batches import embed_batches
from keras_distill.evaluation.retrieval_metrics import retrieval_metrics
from keras_distill.recipes import distill
from keras_distill.runs.directory import RunDirectory
from keras_distill.training.recall_validation import VALIDATION_RECALL

# Runs the training and kills it before a step.
KILLED = """
import os, runpy, signal, sys
from keras_distill.training.resumable_callbacks import ResumableCallbacks

step = int(sys.argv.pop(1))


def killed(self, batch, logs=None):
    if self.step == step:
        os.kill(os.getpid(), signal.SIGKILL)
    begin(self, batch, logs)


begin, ResumableCallbacks.on_train_batch_begin = ResumableCallbacks.on_train_batch_begin, killed
runpy.run_module("keras_distill.train", run_name="__main__")
"""
ALL = (
    "--epochs=4",
    "--steps_per_epoch=5",
    "--validation_classes=2:4",
    "--learning_rate=0.02",
    "--schedule=step",
    "--schedule_steps=12,3e",
    "--warmup_steps=1.4e",
    "--weight_decay=0.01",
    "--backbone_lr_multiplier=0.3",
    "--freeze_epochs=2",
    "--clip_norm=0.3",
    "--dropout=0.3",
    "--self_distillation=6,9",
    "--ema=0.7",
    "--ema_batches=3",
    "--patience=9",
    "--checkpoint_steps=3",
    "--tensorboard_steps=2",
    "--projector=7",
    "--deterministic",
)


def assert_same(run, expected):
    timing = {"seconds", "images_per_second"}
    for record, wanted in zip(run.read_metrics(), expected.read_metrics(), strict=True):
        assert record.keys() == wanted.keys()
        assert [record[key] for key in record if key not in timing] == [
            wanted[key] for key in wanted if key not in timing
        ]
    students = [keras.models.load_model(one.product, compile=False) for one in (run, expected)]
    for weight, other in zip(*(student.get_weights() for student in students), strict=True):
        np.testing.assert_array_equal(weight, other)
    newest = [sorted(one.checkpoints.iterdir())[-1] for one in (run, expected)]
    assert newest[0].name == newest[1].name
    ours, theirs = (np.load(folder / "arrays.npz") for folder in newest)
    assert ours.files == theirs.files
    for name in ours.files:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def points(run):
    """The scalars of TensorBoard by tag and step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.tensorboard), size_guidance={"tensors": 0}).Reload()
    return {
        tag: [
            (event.step, float(tf.make_ndarray(event.tensor_proto)))
            for event in events.Tensors(tag)
        ]
        for tag in events.Tags()["tensors"]
        if not tag.startswith("batch/")
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kills", "flags"),
    [
        ([8], []),  # with the backbone frozen
        ([8, 13], []),
        ([8, 13], ["--mixed_precision=mixed_float16"]),
    ],
)
def test_killed_it_ends_as_if_it_had_not(
    train, command, nursery, photos, tiny, tmp_path, kills, flags
):
    expected = train(f"course_through{len(flags)}", *ALL, *flags)
    assert (expected.code, expected.err) == (0, ""), expected.out
    through = RunDirectory(expected.path)
    run = RunDirectory(tmp_path / "run")
    given = [f"--dataset=folder:{photos}", *tiny, *ALL, *flags, f"--run_dir={run.path}"]
    for step in kills:
        killed = nursery.run([sys.executable, "-c", KILLED, str(step), *given])
        assert killed.returncode == -signal.SIGKILL
    ended = command("train", *given)
    assert ended.out.startswith(f"{run.path}: resuming after step {kills[-1] // 3 * 3}\n")
    assert_same(run, through)
    ours, theirs = points(run), points(through)
    assert ours.keys() == theirs.keys()
    assert [step for step, _ in ours["within_epoch/loss"]] == [*range(2, 21, 2)]
    for tag, values in ours.items():
        if not tag.startswith("speed/"):
            assert values == theirs[tag], tag
    assert (run.path / "training.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_flags_do_what_they_say(train, photos):
    run = RunDirectory(train("course_through0", *ALL).path)
    records = run.read_metrics()
    rates = [record["learning_rate"] for record in records]
    # After 5 of 7 steps of warm-up, all of them, and one and two drops.
    assert rates == pytest.approx([0.02 * 5 / 7, 0.02, 2e-4, 2e-4], rel=1e-5)
    assert all(0 < r["gradient_norm"] <= r["gradient_norm_max"] for r in records)
    described = json.loads(run.summary.read_text())
    averaged = keras.models.load_model(run.product, compile=False)
    held_out = read_folder(photos).of_classes(range(2, 4))
    recall = retrieval_metrics(
        *embed_batches(averaged, evaluation_batches(held_out, image_size=32)), ks=[1]
    )
    assert recall.recall[1] == described["validation"]["recall"]["1"]
    newest = sorted(run.checkpoints.iterdir())[-1]
    trained = np.load(newest / "arrays.npz")["model/0"]
    saved = keras.models.load_model(newest / "student.keras", compile=False).variables[0]
    assert trained.shape == saved.shape
    assert not np.array_equal(trained, saved)
    assert described["stopped_after_epoch"] is None
    with Image.open(run.tensorboard / "projector" / "thumbnails.png") as sprite:
        assert sprite.size == (144, 144)
    assert "gradient_norm" not in train("course_through0", *ALL).out


class GivenRecall(keras.callbacks.Callback):
    """Stands for the validation: a recall for each epoch."""

    values = ()

    def __init__(self, *args, **options):
        super().__init__()

    def on_epoch_end(self, epoch, logs=None):
        logs[VALIDATION_RECALL] = self.values[epoch]


def weights_of(file):
    return keras.models.load_model(file, compile=False).get_weights()


@pytest.mark.slow
def test_it_stops_early_and_writes_the_best_student(here, photos, tiny, tmp_path, monkeypatch):
    recalls = [0.25, 0.5, 0.375, 0.5, 0.75, 0.875]  # as good is not better
    monkeypatch.setattr(distill, "RecallValidation", GivenRecall)
    monkeypatch.setattr(GivenRecall, "values", recalls)
    run = RunDirectory(tmp_path / "run")
    flags = ["--validation_classes=2:4", "--epochs=6", "--patience=2"]
    flags += ["--learning_rate=0.01", "--steps_per_epoch=1", "--schedule=constant"]
    given = [f"--dataset=folder:{photos}", *tiny, *flags, f"--run_dir={run.path}"]
    ended = here("train", *given)
    assert ended.code == 0
    assert len(run.read_metrics()) == 4
    assert (
        "Stopping after epoch 4: val_recall@1 has not risen in the last 2 validations. The best "
        "epoch, 2, is kept (0.5000).\n"
    ) in ended.out
    described = json.loads(run.summary.read_text())
    assert described["stopped_after_epoch"] == 4
    assert described["validation"] == {"recall": {"1": 0.5}, "epoch": 2}
    written = weights_of(run.product)
    best, last = (
        weights_of(run.checkpoints / f"step-00000{step}" / "student.keras") for step in (2, 4)
    )
    assert all(map(np.array_equal, written, best))
    assert not any(map(np.array_equal, written, last))
    assert "is finished" in here("train", *given).out


@pytest.mark.slow
def test_the_rate_of_the_backbone_is_not_the_heads(here, photos, tiny, tmp_path):
    def trained(name, *flags):
        run = RunDirectory(tmp_path / name)
        given = [f"--dataset=folder:{photos}", *tiny, *flags, f"--run_dir={run.path}"]
        assert here("train", *given).code == 0
        return keras.models.load_model(run.product, compile=False)

    before = trained("before", "--epochs=0")
    rates = ("--learning_rate=0.01", "--schedule=constant", "--steps_per_epoch=2")
    after = trained("after", *rates, "--backbone_lr_multiplier=0.001")
    backbone = {id(weight) for weight in after.get_layer("trunk").trainable_weights}
    assert 0 < len(backbone) < len(after.trainable_weights)
    for was, weight in zip(before.trainable_weights, after.trainable_weights, strict=True):
        moved = np.abs(weight.numpy() - was.numpy()).max()
        rate = 1e-5 if id(weight) in backbone else 1e-2
        assert rate < moved < 2.1 * rate, weight.path  # two steps of Adam


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--warmup_steps=2x", "--warmup_steps: '2x' is neither a number of steps, such as 500, n"),
        ("--warmup_steps=-1", "--warmup_steps: '-1' is neither a number of steps"),
        ("--warmup_steps=nane", "--warmup_steps: 'nane' is neither"),
        ("--schedule=step", "--schedule=step and --schedule_steps='' do not go together; give --s"),
        ("--schedule_steps=4", "--schedule=cosine and --schedule_steps='4' do not go together"),
        ("--schedule=step --schedule_steps=4,,5", "--schedule_steps: '' is neither a number of"),
        (
            "--backbone_lr_multiplier=0",
            "--backbone_lr_multiplier=0 must be above 0; --freeze_epochs freezes the backbone",
        ),
        (
            "--backbone_lr_multiplier=-1",
            "--backbone_lr_multiplier=-1: -1.0 is not a non-negative number",
        ),
        ("--freeze_epochs=1 --embedding_dim=0", "--freeze_epochs=1 with --embedding_dim=0 leaves"),
        ("--ema=1", "--ema=1.0 must be below 1, such as 0.999"),
        ("--ema_batches=0", "--ema_batches=0: 0 is not a positive integer"),
        ("--patience=2", "--patience=2 needs --validation_classes"),
        ("--min_delta=0.1", "--min_delta=0.1 has no effect without --patience"),
        ("--profile=5", "--profile=5 is not START:STOP, two steps from 1 on, the first not after"),
        ("--profile=0:4", "--profile=0:4 is not START:STOP"),
        ("--profile=9:8", "--profile=9:8 is not START:STOP"),
        ("--profile=8:9 --notensorboard", "--profile=8:9 has no effect with --notensorboard"),
        ("--projector=10001", "--projector=10001: 10001 is not an integer in the range [0, 10000]"),
    ],
)
def test_unusable_flags_are_refused_before_tensorflow_is_loaded(early, tmp_path, flags, said):
    (tmp_path / "photos").mkdir()
    ended = early("train", "--dataset=folder:photos", "--run_dir=new", *flags.split(), cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert not (tmp_path / "new").exists()


def test_a_profile_beyond_the_training_leaves_no_run(here, tiny, photos, tmp_path):
    given = [f"--dataset=folder:{photos}", *tiny, f"--run_dir={tmp_path / 'run'}"]
    ended = here("train", *given, "--profile=2:3")
    assert ended.code == 2
    assert "--profile=2:3 goes beyond the last step, 2; give steps up to 2." in ended.err
    assert not (tmp_path / "run").exists()
