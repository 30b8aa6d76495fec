import json

import pytest

from keras_distill import ablate
from keras_distill.ablation.grid import Grid
from keras_distill.errors import InputError


@pytest.fixture
def grid(tmp_path):
    """Reads a grid of one variant with the given flags."""
    (tmp_path / "base.flags").write_text("--dataset=glyphs\n--backbone=mobilenet\n")

    def read(flags="", *more):
        base = f"--base={tmp_path / 'base.flags'}"
        given = ablate.COMMAND.parse([base, f"--variant=a: {flags}", "--seeds=0", *more])
        return Grid.of(given, tmp_path / "out")

    return read


def test_a_plan_with_the_same_settings_is_the_same(grid):
    grid().record()
    (run,) = grid().runs()
    run.folder.checkpoints.mkdir(parents=True)  # of a training that was cut off
    plan = run.folder.path.parents[2] / "plan.json"
    written = json.loads(plan.read_text())
    written["variant"]["a"].append(written["variant"]["a"].pop(0))
    written["variant"]["a"].remove("--ema=0.0")
    for done in (False, True):
        if done:
            run.folder.summary.touch()
        plan.write_text(json.dumps(written))  # by a version with another order and fewer flags
        grid().record()
        grid("--cache_max_gb=40 --keep_checkpoints=3").record()
        assert run.folder.checkpoints.is_dir()


def test_a_plan_with_other_settings_is_not(grid):
    grid().record()
    (run,) = grid().runs()
    run.folder.checkpoints.mkdir(parents=True)
    plan = run.folder.path.parents[2] / "plan.json"
    written = json.loads(plan.read_text())
    written["variant"]["a"].append("--of_another_version=1")
    plan.write_text(json.dumps(written))
    run.folder.summary.touch()
    for flags in ("", "--epochs=3"):
        with pytest.raises(InputError, match=r"was run with .*--of_another_version=1.* before"):
            grid(flags).record()
    assert run.folder.checkpoints.is_dir()
    run.folder.summary.unlink()
    grid("--epochs=3").record()
    assert not run.folder.path.exists()


def test_an_evaluation_looks_where_its_training_found_which_files_are_sound(grid):
    for flags, expected in (("", []), ("--cache_dir=fast", ["--cache_dir=fast"])):
        (run,) = grid(flags).runs()
        command = run.evaluate_command(grid(flags).evaluations[0])
        assert [part for part in command if part.startswith("--cache_dir")] == expected


def test_an_evaluation_may_average_mirror_images(grid):
    read = grid("", "--evaluation=plain:", "--evaluation=mirror: --mirror")
    (run,) = read.runs()
    given = [run.evaluate_command(each).count("--mirror") for each in read.evaluations]
    assert given == [0, 1]
