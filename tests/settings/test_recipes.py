from dataclasses import dataclass

import pytest

from keras_distill.errors import InputError
from keras_distill.settings import recipes
from keras_distill.settings.distill import DistillSettings
from keras_distill.settings.recipes import train_command
from keras_distill.settings.settings import setting
from keras_distill.settings.training import TrainSettings


@dataclass(frozen=True, kw_only=True)
class RankSettings(TrainSettings):
    levels: int = setting(3, "Levels of a ranked image.", least=2, group="Data")


@pytest.fixture(autouse=True)
def two_recipes(monkeypatch):
    monkeypatch.setattr(recipes, "RECIPES", {"distill": DistillSettings, "rank": RankSettings})


def parse(*given):
    return train_command(given).parse(given)


def test_distill_is_the_default():
    assert type(parse("--epochs=3")) is DistillSettings


def test_a_recipe_has_the_flags_that_it_takes(tmp_path, capsys):
    settings = parse("--recipe=rank", "--levels=5", "--epochs=2")
    assert (type(settings), settings.levels, settings.epochs) == (RankSettings, 5, 2)
    (tmp_path / "rank.flags").write_text("--recipe=rank\n--levels=4\n")
    assert parse(f"--flagfile={tmp_path / 'rank.flags'}").levels == 4
    with pytest.raises(SystemExit):
        train_command(["--recipe=rank"], "Trains.").run(lambda settings: None, ["--help"])
    said = capsys.readouterr().out
    assert "--levels=N" in said
    assert "--teacher" not in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--levels=5"], "--levels belongs to the recipe rank: give --recipe=rank, or leave it"),
        (["--recipe=rank", "--teacher=a"], "--teacher belongs to the recipe distill: give --rec"),
        (["--recipe=rnak"], "flag --recipe=rnak: is unknown; give one of distill, rank."),
        (["--recipe=rank", "--nosuch"], "Unknown command line flag 'nosuch'"),
    ],
)
def test_a_flag_of_another_recipe_is_refused_by_its_name(given, said):
    with pytest.raises(InputError) as error:
        parse(*given)
    assert str(error.value).startswith(said)
