import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_distill.distribution.replicas import open_replicas
from keras_distill.errors import InputError
from keras_distill.runs.continuation import continuation
from keras_distill.runs.directory import RunDirectory
from keras_distill.runs.stage import Stage, Training
from keras_distill.settings.training import TrainSettings
from keras_distill.training.loop import run_stages

PROGRAM = Path(__file__).parents[1] / "recipes" / "two_stages.py"


def train(folder, *kill):
    return subprocess.run(
        [sys.executable, PROGRAM, folder, *kill], capture_output=True, text=True, timeout=300
    )


def weights(file):
    return keras.models.load_model(file, compile=False).get_weights()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_stages") / "run"
    ended = train(folder)
    assert (ended.returncode, ended.stderr) == (0, "")
    return folder, ended.stdout


def test_stages_are_trained_one_after_the_other_in_folders_of_their_own(uninterrupted):
    folder, said = uninterrupted
    assert said.splitlines()[-1] == str(folder / "summary.json")
    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary["stages"]) == ["learn", "refine"]
    for name in ("learn", "refine"):
        assert summary["stages"][name] == str(folder / name / "summary.json")
        lines = (folder / name / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [5, 10]
        errors = [json.loads(line)["val_error"] for line in lines]
        own = json.loads((folder / name / "summary.json").read_text())["validation"]
        assert (own["value"], own["epoch"]) == (min(errors), 1 + errors.index(min(errors)))
    for one, other in zip(
        weights(folder / "model.keras"), weights(folder / "refine" / "model.keras"), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("names", [["only"], ["learn", "refine"]])
@pytest.mark.parametrize("refused_by", ["build", "batches"])
def test_what_is_refused_before_the_first_step_leaves_the_former_run(tmp_path, names, refused_by):
    def refuse(argument):
        raise InputError("`batch=0` is too small.")

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    refused = Training(model, model, refuse, epochs=1, steps_per_epoch=1, batch_size=1)
    build = {"build": refuse, "batches": lambda context: refused}[refused_by]
    run = RunDirectory(tmp_path / "run", product="model.keras")
    folders = [run.path] if len(names) == 1 else [run.path, *(run.path / n for n in names)]
    for folder in folders:
        former = RunDirectory(folder, product="model.keras")
        former.begin("--epochs=1\n")
        former.product.write_text("former")
        former.unlock()
    replicas = open_replicas("none", None)
    stages = [Stage(name, build) for name in names]
    with pytest.raises(InputError, match="`batch=0`"):
        run_stages(stages, run, TrainSettings(), replicas, flags_text="", resumes=False)
    run.unlock()
    for folder in folders:
        assert (folder / "model.keras").read_text() == "former"
        assert (folder / "flags.txt").read_text() == "--epochs=1\n"


def test_a_run_of_several_stages_replaces_a_former_one(tmp_path, capfd):
    def build(context):
        assert set(context.products) == set(names[: names.index(context.run.path.name)])
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        return Training(model, model, lambda step: None, epochs=0, steps_per_epoch=1, batch_size=1)

    names = ["learn", "refine"]
    stages = [Stage(name, build) for name in names]
    replicas = open_replicas("none", None)
    for text in ("--epochs=1\n", "--epochs=2\n"):
        run = RunDirectory(tmp_path / "run", product="model.keras")
        capfd.readouterr()
        assert (
            run_stages(stages, run, TrainSettings(), replicas, flags_text=text, resumes=False) == 0
        )
        run.unlock()
        assert "is finished" not in capfd.readouterr().out
        for folder in (run.path, *(run.path / name for name in names)):
            assert (folder / "flags.txt").read_text() == text
            assert not (folder / "left").exists()
            (folder / "left").touch()
        (run.path / "left").unlink()


def test_a_run_killed_in_each_stage_ends_as_if_it_had_not_been(uninterrupted, tmp_path):
    folder = tmp_path / "run"
    assert train(folder, "learn", "3").returncode == 9
    assert not (folder / "learn" / "model.keras").exists()
    assert train(folder, "refine", "8").returncode == 9
    learned = (folder / "learn" / "model.keras").stat().st_mtime_ns
    ended = train(folder)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "stage learn is finished" in ended.stdout
    assert "resuming after step 6" in ended.stdout
    assert (folder / "learn" / "model.keras").stat().st_mtime_ns == learned
    for name in ("learn", "refine"):
        for one, other in zip(
            weights(folder / name / "model.keras"),
            weights(uninterrupted[0] / name / "model.keras"),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)


def test_finished_stages_are_not_made_longer(uninterrupted, tmp_path):
    folder = Path(shutil.copytree(uninterrupted[0], tmp_path / "run"))
    run = RunDirectory(folder, product="model.keras")
    run.write_flags("--schedule=constant\n")  # with a cosine, no run is made longer
    same = {"schedule": "constant"}
    longer = TrainSettings(epochs=30, **same)
    assert continuation(run, TrainSettings(**same)) == "finished"
    with pytest.raises(InputError) as error:
        continuation(run, longer)
    assert str(error.value) == (
        f"`epochs=30`: the run in {folder} has several stages, and learn, refine are finished with "
        "`epochs=20` and cannot be made longer, since later stages start from earlier ones; give "
        "`epochs=20`, another `run_dir`, or `overwrite` to train all of them again."
    )
    assert continuation(run, TrainSettings(epochs=30, overwrite=True, **same)) == "begin"
    (folder / "summary.json").unlink()
    shutil.rmtree(folder / "refine")
    with pytest.raises(InputError, match="and learn is finished with `epochs=20` and cannot"):
        continuation(run, longer)
    assert continuation(run, TrainSettings(**same)) == "resume"
    (folder / "learn" / "summary.json").unlink()
    assert continuation(run, longer) == "resume"


def test_a_longer_run_whose_first_stage_was_stopped_writes_its_flags(uninterrupted, tmp_path):
    folder = Path(shutil.copytree(uninterrupted[0], tmp_path / "run"))
    (folder / "learn" / "summary.json").unlink()
    run, replicas = RunDirectory(folder, product="model.keras"), open_replicas("none", None)

    def build(context):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        return Training(model, model, lambda step: None, epochs=0, steps_per_epoch=1, batch_size=1)

    stages = [Stage(name, build) for name in ("learn", "refine")]
    given = {"flags_text": "--epochs=30\n", "resumes": True}
    assert run_stages(stages, run, TrainSettings(epochs=30), replicas, **given) == 0
    run.unlock()
    assert (folder / "flags.txt").read_text() == "--epochs=30\n"
