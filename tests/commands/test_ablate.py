import csv
import io
import json
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import filelock
import pytest

from keras_distill import ablate

VARIANTS = ("--variant=plain:", "--variant=no margin: --margin=0 --epochs=2")


@pytest.fixture(scope="session")
def base(once, photos, tiny):
    def write(folder):
        lines = [f"--dataset=folder:{photos}", *tiny]
        (folder / "tiny.flags").write_text("\n".join([*lines, ""]))

    return once("ablate_base", write) / "tiny.flags"


@pytest.fixture(scope="session")
def ablated(ended_once, nursery, base):
    """A grid of two variants and one seed, its folder in the working directory."""

    def launch(folder):
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(folder)
            patch.setattr(sys, "argv", ["ablate", f"--base={base}", *VARIANTS, "--seeds=3"])
            start_warm_commands(patch, nursery)
            with pytest.raises(SystemExit) as ended:
                runpy.run_path(ablate.__file__, run_name="__main__")
        return SimpleNamespace(code=ended.value.code, out=out.getvalue(), err=err.getvalue())

    return ended_once("ablated", launch)


@pytest.fixture
def out(ablated, tmp_path):
    """A copy of that grid's folder."""
    return shutil.copytree(ablated.path / "runs" / "tiny", tmp_path / "tiny")


def start_warm_commands(patch, nursery):
    """Lets an ablation in this process start its commands where TensorFlow is loaded already."""
    fresh = subprocess.Popen

    def popen(arguments, **options):
        if "process_group" not in options:
            return fresh(arguments, **options)
        command = arguments.index(sys.executable, 1)  # behind what binds it to this process
        return nursery.popen(arguments[command:], **options)

    patch.setattr(subprocess, "Popen", popen)


@pytest.fixture(autouse=True)
def warm(nursery, monkeypatch):
    """All tests start their commands so."""
    start_warm_commands(monkeypatch, nursery)


def results(out):
    return json.loads((out / "results.json").read_text())


def times(out):
    """When the models were written."""
    files = out.rglob("student.keras")
    return {str(file.relative_to(out)): file.stat().st_mtime_ns for file in files}


def test_grid(ablated):
    assert (ablated.code, ablated.err) == (0, "")
    out = ablated.path / "runs" / "tiny"
    lines = ablated.out.splitlines()
    assert lines[0] == "plain, seed 3: training, see runs/tiny/runs/plain/3/console.log"
    assert lines[1].startswith("plain, seed 3: done (")
    assert lines[3].startswith("no margin, seed 3: done (")
    assert lines[-1] == "runs/tiny/results.json"
    assert (out / "table.md").read_text() in ablated.out
    plain, no_margin = results(out)
    assert (plain["variant"], no_margin["variant"]) == ("plain", "no margin")
    assert (plain["evaluation"], plain["seed"]) == ("test", 3)
    assert plain["recall"].keys() == {"1", "2", "4", "8"}
    assert plain["recall"] != no_margin["recall"]
    flags = (out / "runs" / "no margin" / "3" / "flags.txt").read_text().splitlines()
    assert {"--margin=0.0", "--epochs=2", "--seed=3", "--image_size=32"} <= set(flags)
    log = (out / "runs" / "plain" / "3" / "console.log").read_text()
    assert "keras_distill.train" in log
    assert "20 queries of 2 classes" in log
    with (out / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["R@1_mean"]) for row in rows] == [
        plain["recall"]["1"],
        no_margin["recall"]["1"],
    ]
    assert (out / "recall.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_done_twice(here, base, out):
    before = times(out)
    ended = here("ablate", f"--base={base}", *VARIANTS, "--seeds=3", f"--out={out}")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("2 of 2 runs were done before.\n")
    assert times(out) == before


def test_an_evaluation_more_needs_no_training(here, base, out):
    before = times(out)
    given = [f"--base={base}", VARIANTS[0], "--seeds=3", f"--out={out}"]
    evaluations = ["--evaluation=test:", "--evaluation=grey: --degrade=grey --degrade_side=queries"]
    ended = here("ablate", *given, *evaluations)
    assert (ended.code, ended.err) == (0, "")
    assert times(out) == before
    assert [result["evaluation"] for result in results(out)] == ["test", "grey"]
    grey = json.loads((out / "runs/plain/3/evaluations/grey.json").read_text())
    assert (grey["degrade"], grey["degrade_side"]) == ("grey", "queries")


def test_same_name_for_other_flags(here, base, out):
    before = times(out)
    given = [f"--base={base}", "--variant=plain: --margin=0.7", "--seeds=3", f"--out={out}"]
    ended = here("ablate", *given)
    assert ended.code == 2
    assert "--variant=plain was run with less before and now has --margin=0.7; give" in ended.err
    assert times(out) == before


@pytest.mark.slow
def test_a_name_without_results_is_free(here, base, out):
    (out / "runs/plain/3/summary.json").unlink()  # half of a training, by other flags
    given = [f"--base={base}", "--seeds=3", f"--out={out}"]
    assert here("ablate", *given, "--variant=plain: --backbone_layer=nowhere").code == 1
    assert here("ablate", *given, "--variant=plain: --margin=0.7").code == 0
    assert "resuming" not in (out / "runs/plain/3/console.log").read_text()
    assert "--margin=0.7\n" in (out / "runs/plain/3/flags.txt").read_text()


@pytest.mark.slow
def test_a_training_that_lacks_its_end_is_given_it(here, base, out):
    (out / "runs/plain/3/summary.json").unlink()
    (out / "runs/plain/3/student.keras").write_text("half")
    (out / "runs/plain/3/evaluations/test.json").write_text("{}")
    wanted, before = results(out), times(out)
    ended = here("ablate", f"--base={base}", *VARIANTS, "--seeds=3", f"--out={out}")
    assert (ended.code, ended.err) == (0, "")
    after = times(out)
    assert [name for name in before if after[name] != before[name]] == [
        "runs/plain/3/student.keras"  # and no checkpoint
    ]
    assert [result["recall"] for result in results(out)] == [each["recall"] for each in wanted]


@pytest.mark.slow
def test_a_training_that_fails_does_not_stop_the_others(here, base, tmp_path):
    given = [f"--base={base}", "--seeds=0", f"--out={tmp_path / 'out'}"]
    variants = ["--variant=wide: --backbone_layer=nowhere", "--variant=plain:"]
    ended = here("ablate", *given, *variants)
    assert ended.code == 1
    log = tmp_path / "out/runs/wide/0/console.log"
    assert f"wide, seed 0: the training ended with exit code 2, see {log} (" in ended.out
    assert "backbone_layer=nowhere" in log.read_text()
    assert "plain, seed 0: done (" in ended.out
    assert [result["variant"] for result in results(tmp_path / "out")] == ["plain"]


@pytest.mark.slow
def test_a_training_that_is_interrupted_goes_on(here, nursery, base, out):
    flags = [f"--base={base}", *VARIANTS, "--variant=long: --epochs=12", "--seeds=3"]
    process = nursery.popen(
        [sys.executable, "-m", "keras_distill.ablate", *flags, f"--out={out}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    run = out / "runs/long/3"
    while not list(run.glob("checkpoints/step-*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert (process.returncode, said) == (130, "ablate: interrupted\n")
    assert len(results(out)) == 2
    assert not (run / "summary.json").exists()
    before = times(out)

    ended = here("ablate", *flags, f"--out={out}")
    assert (ended.code, ended.err) == (0, "")
    assert "2 of 3 runs were done before." in ended.out
    log = (run / "console.log").read_text()
    assert int(re.search(r"resuming after step (\d+)\n", log)[1]) >= 2
    assert log.count("epoch 1/12 ") == log.count("epoch 12/12 ") == 1
    after = times(out)
    assert all(after[name] == before[name] for name in before if "/long/" not in name)


CHILD = """
import signal, sys, time

def stop(*_):
    time.sleep(1)
    sys.exit(print("checkpoint"))

signal.signal(signal.SIGTERM, stop)
print("begun", flush=True)
time.sleep(600)
"""
PARENT = """
import sys
from pathlib import Path
from keras_distill import ablate
from keras_distill.ablation.child_process import run_logged

child = [sys.executable, "-c", sys.argv[1]]
ablate.COMMAND.run(lambda settings: run_logged(child, Path(sys.argv[2])), [])
"""


@pytest.mark.parametrize(
    ("asked", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_training_ends_with_a_checkpoint_before_its_ablation(asked, code, tmp_path):
    log = tmp_path / "console.log"
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD, str(log)], stderr=subprocess.PIPE, text=True
    )
    while not (log.exists() and "\nbegun\n" in log.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(asked)
    _, said = process.communicate()
    assert process.returncode == code
    assert said == ("ablate: interrupted\n" if asked == signal.SIGINT else "")
    assert log.read_text().endswith("\nbegun\ncheckpoint\n")


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_a_training_ends_when_its_ablation_is_killed(base, tmp_path, by):
    given = [f"--base={base}", "--variant=long: --epochs=4000", "--seeds=3", f"--out={tmp_path}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_distill.ablate", *given],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    run = tmp_path / "runs/long/3"
    wait_until(lambda: list(run.glob("checkpoints/step-*")))
    assert len(trainings(run)) == 1
    process.send_signal(by)
    assert process.wait() == (143 if by == signal.SIGTERM else -signal.SIGKILL)
    if by == signal.SIGTERM:
        assert trainings(run) == []
    wait_until(lambda: trainings(run) == [])
    with filelock.FileLock(run / ".lock", timeout=0):
        assert not (run / "summary.json").exists()
    assert "stopped" in (run / "console.log").read_text().splitlines()[-1]


def trainings(run):
    """Processes that train in a run directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue  # it has ended
        if f"--run_dir={run}" in arguments:
            found.append(int(process.name))
    return found


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_dry_run(early, base, tmp_path):
    given = [f"--base={base}", "--variant=a b: --margin=0.5", "--out=grid", "--dry_run"]
    ended = early("ablate", *given, "--evaluation=good:", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert [line.split()[2] for line in lines] == [
        "keras_distill.train",
        "keras_distill.evaluate",
    ] * 2
    assert lines[0].endswith("--margin=0.5 --seed=0 '--run_dir=grid/runs/a b/0'")
    assert "--test_classes=4:" in lines[1]
    assert lines[1].endswith("--ks=1,2,4,8 '--json=grid/runs/a b/0/evaluations/good.json'")
    assert list(tmp_path.iterdir()) == []


def test_one_process_a_folder(here, base, out):
    with filelock.FileLock(out / ".lock"):
        ended = here("ablate", f"--base={base}", *VARIANTS, "--seeds=3", f"--out={out}")
    assert ended.code == 2
    assert f"--out={out}: another process works there" in ended.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--base="], "--base is required: a flag file of keras_distill.train"),
        (["--base=nowhere"], "--base=nowhere does not exist"),
        ([], '--variant is required, as "NAME: FLAGS"'),
        (["--variant=plain"], '--variant=plain: give "NAME: FLAGS", where NAME can be the name of'),
        (["--variant=../a:"], '--variant=../a:: give "NAME: FLAGS"'),
        (["--variant=a: --x='"], "--variant=a: --x=': No closing quotation."),
        (["--variant=a: --epoch=1"], "--variant=a: --epoch=1: Unknown command line flag 'epoch'"),
        (["--variant=a: --task_loss=none"], "--variant=a: --task_loss=none: --task_loss=none lea"),
        (["--variant=a: --seed=1"], "--variant=a: --seed=1: --seed is set by the grid"),
        (["--variant=a:", "--variant=a: --margin=0"], "--variant=a: there are several of this"),
        (["--variant=a:", "--seeds=1,1"], "--seeds=1,1 must be different integers"),
        (["--variant=a:", "--seeds=-1"], "--seeds=-1 must be different integers, such as 0,1,2"),
        (["--variant=a:", "--seeds="], "--seeds= must be different integers"),
        (["--variant=a:", "--ks=0"], "--ks=0 must be positive integers"),
        (["--variant=a:", "--evaluation=x: --ks=3"], "x: --ks=3: for the variant a, --ks is set"),
        (
            ["--variant=a:", "--evaluation=x: --split=validation"],
            "for the variant a, --split=validation needs --validation_classes",
        ),
        (["--variant=a:", "--out=file"], "--out=file is a file; give a folder"),
    ],
)
def test_unusable_flag_is_refused_before_tensorflow_is_loaded(early, base, tmp_path, flags, said):
    (tmp_path / "file").touch()
    ended = early("ablate", f"--base={base}", *flags, cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("ablate: ")
    assert said in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
