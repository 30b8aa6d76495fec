from pathlib import Path

import pytest

from keras_distill import InputError
from keras_distill.settings.ranked_regression import (
    STAGES,
    RankedRegressionSettings,
    parse_crop_pixels,
)
from keras_distill.settings.recipes import train_command
from keras_distill.settings.regression_data import regression_kind

CONFIGS = Path(__file__).parents[2] / "configs" / "ranked_regression"


@pytest.mark.parametrize("preset", sorted(CONFIGS.glob("*.flags")), ids=lambda path: path.stem)
@pytest.mark.parametrize("stages", STAGES)
def test_a_preset_can_be_run_by_any_stages(preset, stages, tmp_path, monkeypatch):
    monkeypatch.chdir(CONFIGS.parents[1])
    (tmp_path / "scores.csv").touch()
    labels = "--points=csv" if "crowd" in preset.stem else f"--scores={tmp_path}/scores.csv"
    arguments = [f"--flagfile={preset}", f"--dataset=folder:{tmp_path}", labels]
    settings = train_command(arguments).parse([*arguments, f"--stages={stages}"])
    settings.check()
    assert settings.output == ("density" if "crowd" in preset.stem else "score")
    assert settings.ranking == ("crops" if "crowd" in preset.stem else "distortions")
    assert (settings.ranks, settings.regresses) == (stages != "fine_tune", stages != "rank")


def test_kinds_of_data():
    command = train_command(["--recipe=ranked_regression"])
    for flags, kind in (
        (["--dataset=live:live"], "score"),
        (["--scores=a.csv"], "score"),
        (["--points=mat"], "density"),
        (["--dataset=folder:photos"], ""),
    ):
        assert regression_kind(command.parse(["--recipe=ranked_regression", *flags])) == kind


def test_sides_of_crops():
    assert parse_crop_pixels("") is None
    assert parse_crop_pixels("64") == (64, 64)
    for value in ("4:9", "64:32", "a:b", "1e9"):
        with pytest.raises(InputError, match="must be LEAST:MOST"):
            parse_crop_pixels(value)


def test_a_training_without_a_turn_of_labels_is_refused():
    settings = RankedRegressionSettings(stages="alternate", alternate_every=300, epochs=100)
    with pytest.raises(InputError, match="the training has 200 steps, all of which would rank"):
        settings.check_turns(steps_per_epoch=2)
    settings.check_turns(steps_per_epoch=4)
    settings.replace(stages="joint").check_turns(steps_per_epoch=2)
    settings.replace(epochs=0).check_turns(steps_per_epoch=2)
