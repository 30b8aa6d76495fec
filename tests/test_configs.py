import re
from pathlib import Path

import pytest

from keras_distill import ablate
from keras_distill.ablation.grid import Grid
from keras_distill.settings.evaluation import parse_ks
from keras_distill.settings.recipes import train_command
from keras_distill.settings.teacher_losses import parse_teacher_losses

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.flags")), ids=lambda path: path.stem)
def test_config_explains_itself(path):
    for word in ("# Purpose: ", "# Cost", "xpected result"):
        assert word in path.read_text()


@pytest.mark.parametrize(
    "path",
    sorted(set(CONFIGS.rglob("*.flags")) - set(CONFIGS.rglob("*_ablation.flags"))),
    ids=lambda path: path.stem,
)
def test_config_parses(path, monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    arguments = [f"--flagfile={path}"]
    flags = train_command(arguments).parse(arguments)
    if flags.recipe == "distill" and flags.teacher:
        assert parse_teacher_losses(flags.teacher_losses, flags.dataset, [""])


@pytest.mark.parametrize(
    "path", sorted(CONFIGS.rglob("*_ablation.flags")), ids=lambda path: path.stem
)
def test_grid_parses(path, monkeypatch, tmp_path):
    """With a teacher in its place; the photographs are beside the project or replaced."""
    monkeypatch.chdir(CONFIGS.parent)
    settings = ablate.COMMAND.parse([f"--flagfile={path}"])
    (tmp_path / "photos").mkdir()
    weights = tmp_path / "backbone.weights.h5"
    weights.touch()
    (tmp_path / "teacher").mkdir()
    (tmp_path / "labels.csv").touch()
    data, more = f"folder:{tmp_path / 'photos'}", f"--backbone_weights={weights}"
    base = [f"--flagfile={settings.base}"]
    of_all = train_command(base).parse(base)
    layout = of_all.dataset.partition(":")[0]
    if layout == "albums":
        data, more = f"albums:{tmp_path / 'labels.csv'}", f"--images={tmp_path}"
        more += f" --album_vectors={tmp_path}"
    elif layout == "labels":
        data = f"labels:{tmp_path / 'labels.csv'}"
        if of_all.word_vectors:
            more += f" --word_vectors={tmp_path / 'labels.csv'}"

    if getattr(of_all, "teacher", ""):
        more += f" --teacher={tmp_path / 'teacher'}"
    # The first lines say how to make the runs that a grid needs.
    needed = [*settings.variant, *settings.evaluation, f"teacher={getattr(of_all, 'teacher', '')}"]
    for run in re.findall(r"=runs/(\w+)", " ".join(needed)):
        assert re.search(
            rf"--(flagfile=configs/{run}\.flags|run_dir=runs/{run})\b", path.read_text()
        )

    def at_hand(text):
        text = re.sub(r"(teacher|gallery_model)=runs/[\w/.]+", rf"\1={tmp_path / 'teacher'}", text)
        return re.sub(r"folder:[\w/.]+", data, text)

    variants = tuple(f"{at_hand(variant)} --dataset={data} {more}" for variant in settings.variant)
    evaluations = tuple(map(at_hand, settings.evaluation))
    grid = Grid.of(settings.replace(variant=variants, evaluation=evaluations), tmp_path)
    assert len(grid.seeds) >= 2
    assert len(grid.variants) == len(settings.variant)


def test_every_published_set_has_every_recipe():
    for name in ("cub", "cars196", "sop", "birds100"):
        for recipe in ("teacher", "baseline", "absolute", "relative"):
            assert (CONFIGS / f"{name}_{recipe}.flags").is_file()


def test_ks_of_the_paper_are_accepted():
    assert parse_ks("1,10,100,1000") == [1, 10, 100, 1000]
