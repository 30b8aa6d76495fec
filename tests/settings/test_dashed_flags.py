from dataclasses import dataclass

import pytest

from keras_distill.errors import InputError
from keras_distill.settings.command import Command
from keras_distill.settings.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class SmallSettings(Settings, group="Group"):
    run_dir: str = setting("", "Text.")
    some_words: tuple[str, ...] = setting((), "Texts.")
    least_count: int = setting(1, "Number.", least=-9)
    strict_images: bool = setting(True, "Yes or no.")
    fast: bool = setting(True, "Yes or no.")


@pytest.fixture
def parsed():
    """The values that a command line sets."""
    command = Command("keras_distill.small", "Does little.", SmallSettings)

    def parse(*argv):
        settings = command.parse(argv)
        return {name: getattr(settings, name) for name in settings.given}

    return parse


@pytest.mark.parametrize(
    ("argv", "values"),
    [
        (["--run-dir=a-b"], {"run_dir": "a-b"}),
        (["-run-dir=--a-b=c-d"], {"run_dir": "--a-b=c-d"}),
        (["--run-dir", "--least-count"], {"run_dir": "--least-count"}),
        (["--run_dir", "--no-fast", "--no-fast"], {"run_dir": "--no-fast", "fast": False}),
        (["--some-words=a", "--some_words=b-c"], {"some_words": ("a", "b-c")}),
        (["--least-count", "-3", "--fast"], {"least_count": -3, "fast": True}),
        (["--no-strict-images"], {"strict_images": False}),
        (["--no_strict_images"], {"strict_images": False}),
        (["--nostrict-images"], {"strict_images": False}),
        (["--no-fast"], {"fast": False}),
        (["--nofast"], {"fast": False}),
        (["--strict-images=false"], {"strict_images": False}),
    ],
)
def test_names_of_flags_may_have_dashes(parsed, argv, values):
    assert parsed(*argv) == values


def test_names_of_flags_may_have_dashes_in_flag_files(parsed, tmp_path):
    inner, outer = tmp_path / "inner.flags", tmp_path / "outer.flags"
    inner.write_text("--no-strict-images\n--some-words=a-b\n")
    outer.write_text(f"# --least-count=5\n--least-count=4\n--flagfile={inner}\n")
    values = {"least_count": 4, "strict_images": False, "some_words": ("a-b",), "run_dir": "x-y"}
    assert parsed("--run-dir", "x-y", f"--flagfile={outer}") == values


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--run-dri=x", "Unknown command line flag 'run-dri'. Did you mean: run_dir"),
        ("--no-run-dir", "Unknown command line flag 'no-run-dir'"),
        ("--no-fast=1", "--nofast=1 does not take an argument"),
        ("--least-count=x", "flag --least_count=x: invalid literal"),
        ("run-dir", "'run-dir' is not a flag; flags look like --name=value."),
        ("run_dir", "'run_dir' is not a flag; flags look like --name=value."),
    ],
)
def test_mistakes_are_told_as_ever(parsed, argument, said):
    with pytest.raises(InputError) as caught:
        parsed(argument, "--fast")
    assert said in str(caught.value)


def test_train_takes_dashes(early, photos, tmp_path):
    taken = tmp_path / "file"
    taken.touch()
    flags = (f"--dataset=folder:{photos}", "--no-strict-images", f"--run-dir={taken}")
    ended = early("train", *flags)
    assert (ended.code, ended.err.partition("\n")[0]) == (
        2,
        f"train: --run_dir={taken} is a file; give a folder.",
    )
