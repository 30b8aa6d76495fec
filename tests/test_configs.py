from pathlib import Path

import pytest

from keras_distill import evaluate, train

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.flags")), ids=lambda path: path.stem)
def test_config_explains_itself_and_parses(path, monkeypatch):
    text = path.read_text()
    for word in ("# Purpose: ", "# Cost", "xpected result"):
        assert word in text
    monkeypatch.chdir(CONFIGS.parent)
    flags = train.COMMAND.flags
    flags.unparse_flags()
    flags([train.COMMAND.module, f"--flagfile={path}"])
    if flags.teacher:
        assert train.parse_teacher_losses(flags.teacher_losses, flags.dataset, [""])
    flags.unparse_flags()


def test_every_published_set_has_every_recipe():
    for name in ("cub", "cars196", "sop", "birds100"):
        for recipe in ("teacher", "baseline", "absolute", "relative"):
            assert (CONFIGS / f"{name}_{recipe}.flags").is_file()


def test_ks_of_the_paper_are_accepted():
    assert evaluate.parse_ks("1,10,100,1000") == [1, 10, 100, 1000]
