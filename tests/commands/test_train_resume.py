import itertools
import json
import logging
import os
import shutil
import signal
import sys

import filelock
import keras
import numpy as np
import pytest

from keras_distill.models.embedder import build_embedder
from keras_distill.runs import checkpoints as checkpoint_folder
from keras_distill.runs.directory import RunDirectory
from keras_distill.training import loop, resumable_callbacks

# Runs the training and kills it at a step: before it, or half-way through its checkpoint.
KILLED = """
import os, runpy, signal, sys
from keras_distill.runs import checkpoints as checkpoint_folder
from keras_distill.training.resumable_callbacks import ResumableCallbacks

step, moment = int(sys.argv.pop(1)), sys.argv.pop(1)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def killed_before(self, batch, logs=None):
    if moment == "before" and self.step == step:
        kill()
    begin(self, batch, logs)


def killed_within(file):
    if moment == "within" and f"step-{step:06d}" in str(file):
        kill()
    return sha256(file)


begin = ResumableCallbacks.on_train_batch_begin
ResumableCallbacks.on_train_batch_begin = killed_before
sha256, checkpoint_folder._sha256 = checkpoint_folder._sha256, killed_within
runpy.run_module("keras_distill.train", run_name="__main__")
"""
LONG = ("--epochs=3", "--steps_per_epoch=5", "--validation_classes=2:4", "--memory=16")


@pytest.fixture
def kill(nursery, photos, tiny, tmp_path):
    """Trains until the process is killed at a step."""

    def run(step, moment, *flags):
        given = [f"--dataset=folder:{photos}", *tiny, *flags, f"--run_dir={tmp_path / 'run'}"]
        done = nursery.run([sys.executable, "-c", KILLED, str(step), moment, *given])
        assert done.returncode == -signal.SIGKILL

    return run


@pytest.fixture
def resume(here, photos, tiny, tmp_path):
    """Trains in this process, in the same folder each time."""

    def run(*flags):
        given = [f"--dataset=folder:{photos}", *tiny, f"--run_dir={tmp_path / 'run'}", *flags]
        return here("train", *given)

    return run


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "run")


def steps(run):
    return [folder.name for folder in sorted(run.checkpoints.iterdir())]


def assert_same(run, expected):
    """That all is the same, bit by bit, but for how long it took."""
    timing = ("seconds", "images_per_second")
    for record, wanted in zip(run.read_metrics(), expected.read_metrics(), strict=True):
        assert {key: record[key] for key in wanted if key not in timing} == {
            key: wanted[key] for key in wanted if key not in timing
        }
    summaries = [json.loads(one.summary.read_text()) for one in (run, expected)]
    for key in ("loss", "spread", "collapsed", "validation"):
        assert summaries[0].get(key) == summaries[1].get(key)
    assert steps(run) == steps(expected)
    models = ("student.keras", *(f"checkpoints/{step}/student.keras" for step in steps(run)))
    for model in models:
        ours, theirs = (
            keras.models.load_model(one.path / model, compile=False).get_weights()
            for one in (run, expected)
        )
        for weight, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(weight, other)
    ours, theirs = (
        np.load(one.checkpoints / steps(run)[-1] / "arrays.npz") for one in (run, expected)
    )
    assert ours.files == theirs.files
    for name in ours.files:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not(train, kill, resume, run):
    through = RunDirectory(train("through", *LONG).path)
    kill(9, "within", *LONG, "--checkpoint_steps=3")
    assert "step-000006" in steps(run)
    assert any(name.startswith(".tmp-step-000009") for name in steps(run))
    ended = resume(*LONG)
    assert ended.out.startswith(f"{run.path}: resuming after step 6\n")
    assert "epoch 2/3  loss" in ended.out
    assert "epoch 1/3  loss" not in ended.out
    assert ended.code == 0
    assert_same(run, through)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags", [(), ("--mixed_precision=mixed_float16", "--task_loss=proxy_anchor")]
)
def test_ten_kills_at_random_steps(command, kill, photos, tiny, tmp_path, run, flags):
    given = [
        "--epochs=8",
        "--steps_per_epoch=5",
        "--validation_classes=2:4",
        "--deterministic",
        *flags,
    ]
    expected = RunDirectory(tmp_path / "through")
    data = [f"--dataset=folder:{photos}", *tiny]
    assert command("train", *data, *given, f"--run_dir={expected.path}").code == 0
    rng = np.random.default_rng(0)
    for step in sorted(rng.choice(np.arange(2, 40), 10, replace=False)):
        within = step % 3 == 0
        kill(
            step,
            "within" if within else "before",
            *given,
            f"--checkpoint_steps={3 if within else 2}",
        )
    assert command("train", *data, *given, f"--run_dir={run.path}").code == 0
    assert_same(run, expected)


class Interrupted(resumable_callbacks.ResumableCallbacks):
    """Sends itself a signal in its eighth step."""

    number = signal.SIGTERM

    def on_train_batch_begin(self, batch, logs=None):
        if self.step == 7:
            os.kill(os.getpid(), self.number)
        super().on_train_batch_begin(batch, logs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow), (signal.SIGINT, 130)],
)
def test_a_signal_and_a_damaged_checkpoint(train, resume, run, monkeypatch, caplog, number, code):
    monkeypatch.setattr(Interrupted, "number", number)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "ResumableCallbacks", Interrupted)
        ended = resume(*LONG)
    assert ended.code == code
    assert f"train: stopped by {number.name} after step 8; the same command resumes it" in ended.out
    assert "Stopping after this step" in ended.err
    assert "Traceback" not in ended.err
    assert steps(run)[-2:] == ["step-000005", "step-000008"]
    assert not run.summary.exists()
    assert run.curves.exists()
    if number == signal.SIGINT:
        return
    (run.checkpoints / "step-000008" / "arrays.npz").write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING, logger="absl"):
        ended = resume(*LONG)
    assert ended.out.startswith(f"{run.path}: resuming after step 5\n")
    assert [record.getMessage() for record in caplog.records if record.name == "absl"] == [
        f"Passing over a damaged checkpoint, {run.checkpoints}/step-000008: "
        "arrays.npz does not match its checksum."
    ]
    assert_same(run, RunDirectory(train("through", *LONG).path))


@pytest.mark.slow
def test_a_longer_run_and_a_full_disk(resume, run, monkeypatch):
    flags = ("--schedule=constant", "--warmup_steps=3")
    assert resume(*flags).code == 0
    before = run.read_metrics()
    with monkeypatch.context() as patch:

        def full(*args, **kwargs):
            raise OSError(28, "No space left on device")

        patch.setattr(checkpoint_folder.np, "savez", full)
        ended = resume(*flags, "--epochs=2")
    assert ended.code == 2
    assert f"'{run.checkpoints}/step-000004' could not be written (No space left" in ended.err
    assert f"'{run.checkpoints}/step-000002' is intact: remove old runs or caches" in ended.err
    assert steps(run) == ["step-000002"]
    assert not run.summary.exists()
    ended = resume(*flags, "--epochs=2")
    assert ended.code == 0
    assert len(run.read_metrics()) == 2
    assert run.read_metrics()[0] == before[0]
    summary = json.loads(run.summary.read_text())
    assert summary["epochs"] == 2
    assert summary["loss"]["loss"] == run.read_metrics()[1]["loss"]
    whole = RunDirectory(run.path.with_name("whole"))
    assert resume(*flags, "--epochs=2", f"--run_dir={whole.path}").code == 0
    assert_same(run, whole)


@pytest.fixture
def write(tmp_path):
    """Writes what a training is given, each time with other weights."""
    seeds = itertools.count(100)

    def write(name):
        keras.utils.set_random_seed(next(seeds))  # a training has set its own
        if name == "teacher.keras":
            options = {"embedding_dim": 8, "backbone_weights": "none", "image_size": 32}
            build_embedder("mobilenet", alpha=0.25, **options).save(tmp_path / name)
        else:
            options = {"include_top": False, "weights": None, "input_shape": (32, 32, 3)}
            keras.applications.MobileNet(alpha=0.25, **options).save_weights(tmp_path / name)

    return write


@pytest.mark.slow
def test_another_teacher_or_start_at_the_same_path_is_refused(resume, run, write, tmp_path):
    files = {"teacher": "teacher.keras", "backbone_weights": "start.weights.h5"}
    for name in files.values():
        write(name)
    given = ["--schedule=constant", f"--cache_dir={tmp_path / 'cache'}"]
    given += [f"--{flag}={tmp_path / name}" for flag, name in files.items()]
    assert resume(*given).code == 0
    before = {file: file.read_bytes() for file in run.path.rglob("*.*") if file.is_file()}
    caches = list((tmp_path / "cache").iterdir())
    for flag, name in files.items():
        former = (tmp_path / name).read_bytes()
        write(name)
        ended = resume(*given, "--epochs=2")
        assert ended.code == 2
        assert (
            f"--{flag}={tmp_path / name} differs from what '{run.checkpoints}/step-000002' was "
            "trained with: "
        ) in ended.err
        assert "Put back what was there, or begin again in another folder. " in ended.err
        assert "folder. --overwrite replaces this run.\n" in ended.err
        (tmp_path / name).write_bytes(former)
    assert before == {file: file.read_bytes() for file in before}
    assert caches == list((tmp_path / "cache").iterdir())
    ended = resume(*given, "--epochs=2")
    assert (ended.code, len(run.read_metrics())) == (0, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "images"), [("class_0/2.jpg", "training"), ("class_3/2.jpg", "validation")]
)
def test_images_with_other_content_are_refused(file, images, resume, run, photos, tmp_path):
    copy = shutil.copytree(photos, tmp_path / "copy")
    given = [f"--dataset=folder:{copy}", "--validation_classes=3:4", "--schedule=constant"]
    assert resume(*given).code == 0
    before = (copy / file).read_bytes(), (copy / file).stat().st_mtime_ns
    shutil.copyfile(copy / "class_0" / "3.jpg", copy / file)
    ended = resume(*given, "--epochs=2")
    assert ended.code == 2
    assert f"the content of the {images} images differs from what '{run.checkpoints}/" in ended.err
    (copy / file).write_bytes(before[0])
    os.utime(copy / file, ns=(before[1], before[1]))
    assert resume(*given, "--epochs=2").code == 0
    assert len(run.read_metrics()) == 2


def test_a_finished_run_is_left_as_it_is(early, teacher):
    before = (teacher.path / "summary.json").read_bytes()
    ended = early("train", "--flagfile=striped.flags", "--seed=3", cwd=teacher.path.parents[1])
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        "runs/striped is finished; --overwrite would train it again.\nruns/striped/summary.json\n"
    )
    assert (teacher.path / "summary.json").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--seed=4", "--alpha=0.5"], ": --alpha=0.25 instead of 0.5, --seed=3 instead of 4.\n"),
        (["--epochs=1"], ": --epochs=2 instead of 1.\n"),
        (
            ["--epochs=9"],
            ": --epochs=2 instead of 9. --schedule=cosine spans a number of epochs that is known "
            "from the start; with --schedule=constant or step a run can be made longer.\n",
        ),
    ],
)
def test_a_run_of_other_settings_is_refused(early, teacher, flags, said):
    given = ("--flagfile=striped.flags", "--seed=3", *flags)
    ended = early("train", *given, cwd=teacher.path.parents[1])
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("train: --run_dir=runs/striped holds a run already; give another ")
    assert said in ended.err


def test_flags_of_another_version_are_refused(early, photos, tmp_path):
    (tmp_path / "flags.txt").write_text("--colour=blue\n")
    ended = early("train", f"--dataset=folder:{photos}", f"--run_dir={tmp_path}")
    assert ended.code == 2
    assert "settings to resume it, which" in ended.err
    assert "Unknown command line flag 'colour'" in ended.err


def test_a_run_that_another_process_makes_is_refused(early, photos, tmp_path):
    (tmp_path / "flags.txt").write_text(f"--dataset=folder:{photos}\n")
    with filelock.FileLock(tmp_path / ".lock"):
        for more in ([], ["--overwrite"]):
            ended = early("train", f"--dataset=folder:{photos}", f"--run_dir={tmp_path}", *more)
            assert ended.code == 2
            assert f"--run_dir={tmp_path}: another process trains there." in ended.err
