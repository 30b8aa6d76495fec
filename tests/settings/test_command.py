import errno
import importlib
import os
import re
from dataclasses import FrozenInstanceError, dataclass, fields
from pathlib import Path

import pytest

from keras_distill.errors import InputError
from keras_distill.settings.command import Command, flag_files
from keras_distill.settings.settings import Settings, fixed_values, setting

TRAINING = ["Training", "Schedule and averages", "Watching", "Output"]
GROUPS = {
    "train": ["Data", "Student", "Teacher", "Cache", "Loss", *TRAINING],
    "cache": ["Cache", "Data", "Student", "Teacher", "Loss", *TRAINING],
    "evaluate": ["Model", "Gallery model", "Data", "Pairs", "Evaluation", "Output"],
    "ablate": ["Grid", "Output"],
    "export": ["Model", "Output", "Serving", "Checks", "Model card", "Format"],
    "index": ["Index", "Writing", "Model", "Pictures", "Search", "Output"],
}


@dataclass(frozen=True, kw_only=True)
class WordSettings(Settings, group="Words"):
    name: str = setting("", "What it is called.")
    kind: str = setting("round", "Its form.", choices=["round", "square"], formerly="shape")


@dataclass(frozen=True, kw_only=True)
class NumberSettings(Settings, group="Numbers"):
    count: int | None = setting(None, "How many.", least=1, most=9)
    weight: float = setting(0.5, "How heavy.", free=True)
    exact: bool = setting(False, "Whether to round.")


@dataclass(frozen=True, kw_only=True)
class SmallSettings(WordSettings, NumberSettings):
    pass


def make_small():
    return Command("keras_distill.small", "Does little.\n\nMore of it.", SmallSettings)


@pytest.fixture
def small():
    return make_small()


def end(command, main, *argv):
    with pytest.raises(SystemExit) as ended:
        command.run(main, argv)
    return ended.value.code


@pytest.mark.parametrize("name", GROUPS)
def test_help_lists_the_flags_in_groups_with_defaults_and_loads_no_tensorflow(early, name):
    module = importlib.import_module(f"keras_distill.{name}")
    shown = early(name, "--help", fresh=True)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith(module.__doc__.strip())
    options = shown.out.removeprefix(module.__doc__.strip())
    assert re.findall(r"^\w[\w ]*$", options, re.M) == [*GROUPS[name], "Flag files"]
    options = re.sub(r"^\w.*\n", "", options, flags=re.M)
    blocks = [" ".join(block.split()) for block in re.split(r"^  --", options, flags=re.M)[1:]]
    by_flag = {re.match(r"\w+", block)[0]: block for block in blocks}
    former = {field.metadata.get("formerly") for field in fields(module.COMMAND.settings)}
    assert by_flag.keys() == set(module.COMMAND.flags) - former
    for flag, block in by_flag.items():
        default = module.COMMAND.flags[flag].default
        assert block.endswith(f"(default {default})") == (default not in (None, ""))


def test_help_shows_what_a_flag_takes(small, capsys):
    assert end(small, None, "--count=3", "--help") == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line]
    assert lines == [
        "Does little.",
        "More of it.",
        "Words",
        "--name=TEXT",
        "What it is called.",
        "--kind=round|square",
        "Its form. (default round)",
        "Numbers",
        "--count=N",
        "How many.",
        "--weight=X",
        "How heavy. (default 0.5)",
        "--exact",
        "Whether to round. (default False)",
        "Flag files",
        "--flagfile=TEXT",
        "File with one flag a line; see configs/.",
    ]


@pytest.mark.parametrize(("returned", "code"), [(None, None), (0, 0), (1, 1), (3, 3)])
def test_exit_code_is_what_the_command_returns(small, returned, code):
    assert end(small, lambda flags: returned) == code


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--count=0", "--count=0: 0 is not an integer in the range [1, 9]"),
        ("--count=10", "--count=10: 10 is not an integer in the range [1, 9]"),
        ("--count=few", "--count=few: invalid literal for int() with base 10: 'few'"),
        ("--weight=-1", "--weight=-1: -1.0 is not a non-negative number"),
        ("--weight=nan", "--weight=nan: not finite"),
        ("--weight=inf", "--weight=inf: not finite"),
        ("--kind=oval", "--kind=oval: value should be one of <round|square>"),
        ("--cuont=3", "Unknown command line flag 'cuont'. Did you mean: count"),
        ("--flagfile=/nowhere.flags", "/nowhere.flags"),
        ("loose", "'loose' is not a flag; flags look like --name=value."),
    ],
)
def test_unusable_flag_is_named_with_its_value_and_the_remedy(small, capsys, flag, said):
    reached = []
    assert end(small, reached.append, flag) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.startswith("small: ")
    assert printed.endswith("See `python -m keras_distill.small --help`.\n")
    assert not reached


class OutOfSpaceError(Exception):
    """As of TensorFlow or HDF5, which is no OSError."""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("--name=x is taken."), 2, "small: --name=x is taken."),
        (KeyboardInterrupt(), 130, "small: interrupted"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.json"), 2, "'a.json'"),
        (OutOfSpaceError("a.tfevents; No space left on device"), 2, "small: the disk is full"),
    ],
)
def test_expected_failure_ends_in_one_message(small, capsys, error, code, said):
    def main(flags):
        raise error

    assert end(small, main) == code
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_grpc_logs_no_more_than_errors(command, served):
    flags = ("--model=birds", f"--address={served.address}", "--tls", "--timeout=1")
    ended = command("client", "status", *flags)
    assert (ended.code, ended.out) == (1, "")
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith(f"client: model 'birds' at {served.address}: UNAVAILABLE")


def test_mistake_in_the_program_keeps_its_traceback(small):
    def main(flags):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        small.run(main, [])


def test_flags_survive_the_way_through_a_flag_file(small, tmp_path):
    def values(flags):
        return [flags.name, flags.kind, flags.count, flags.weight, flags.exact]

    seen = []
    given = ["--name=a b=c # d", "--kind=square", "--weight=1e-7", "--exact"]
    end(small, lambda flags: seen.extend(values(flags)), *given)
    file = tmp_path / "small.flags"
    file.write_text("# comment\n\n" + small.text())
    again = make_small()
    end(again, lambda flags: seen.extend(values(flags)), f"--flagfile={file}", "--count=3")
    assert seen == ["a b=c # d", "square", None, 1e-7, True, "a b=c # d", "square", 3, 1e-7, True]


def test_flag_files_are_found_in_a_command_line():
    argv = ["--flagfile=a/b.flags", "--name=flagfile", "-flagfile", "c.flags", "--flagfiles=d"]
    assert flag_files(argv) == [Path("a/b.flags"), Path("c.flags")]
    assert flag_files(["--name=x"]) == []
    assert flag_files([]) == []
    assert flag_files(["--name=x", "--flagfile", "d.flags"]) == [Path("d.flags")]


@pytest.fixture
def with_verbs():
    return Command("keras_distill.shop", "Trades.", NumberSettings, verbs=["buy", "sell"])


def test_the_command_line_begins_with_a_verb(with_verbs):
    seen = []
    for argv in (["sell", "--count=3"], ["buy"]):
        end(with_verbs, lambda flags: seen.append((with_verbs.verb, flags.count)), *argv)
    assert seen == [("sell", 3), ("buy", None)]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "'' must be one of buy, sell."),
        (["rent"], "'rent' must be one of buy, sell."),
        (["--count=3", "buy"], "'--count=3' must be one of buy, sell."),
        (["buy", "sell"], "'sell' is not a flag; flags look like --name=value."),
    ],
)
def test_unknown_verb_is_refused(with_verbs, capsys, argv, said):
    reached = []
    assert end(with_verbs, reached.append, *argv) == 2
    assert f"shop: {said}" in capsys.readouterr().err
    assert not reached
    assert end(with_verbs, reached.append, "rent", "--help") == 0


def test_what_follows_two_dashes_is_passed_on():
    command = Command("keras_distill.shop", "Trades.", NumberSettings, passes_on=True)
    seen = []
    for argv in (["--count=3", "--", "--count=x", "buy"], ["--count=2"], ["--", "--"]):
        end(command, lambda flags: seen.append((flags.count, command.passed_on)), *argv)
    assert seen == [(3, ["--count=x", "buy"]), (2, []), (None, ["--"])]


def test_settings_are_what_was_given_or_the_defaults(small):
    settings = small.parse(["--count=3", "--exact"])
    assert settings == SmallSettings(count=3, exact=True, given=frozenset({"count", "exact"}))
    assert (settings.name, settings.kind, settings.weight) == ("", "round", 0.5)
    with pytest.raises(FrozenInstanceError):
        settings.count = 4
    assert settings.replace(count=4).count == 4
    assert small.parse([]) == SmallSettings()  # nothing is left of the former arguments


def test_an_empty_value_takes_back_what_a_flag_file_has_set(small, tmp_path):
    (tmp_path / "nine.flags").write_text("--count=9\n")
    flagfile = f"--flagfile={tmp_path / 'nine.flags'}"
    assert small.parse([flagfile]).count == 9
    settings = small.parse([flagfile, "--count="])
    assert settings == SmallSettings()
    assert "count" not in small.text(settings)


def test_text_is_a_flag_file_of_the_settings(small, tmp_path):
    settings = small.parse(["--kind=square", "--weight=2"]).replace(name="a b")
    (tmp_path / "flags.txt").write_text(small.text(settings, without="weight"))
    read = small.parse([f"--flagfile={tmp_path / 'flags.txt'}"])
    assert (read.name, read.kind, read.weight, read.count) == ("a b", "square", 0.5, None)


def test_a_former_name_is_still_taken(small, tmp_path):
    (tmp_path / "old.flags").write_text("--shape=square\n")
    settings = small.parse([f"--flagfile={tmp_path / 'old.flags'}"])
    assert (settings.kind, settings.given) == ("square", {"kind"})


def test_what_may_differ_when_a_run_is_resumed_is_declared_at_the_setting(small):
    fixed = {"name": "", "kind": "round", "count": None, "exact": False}
    assert fixed_values(small.parse(["--weight=3"])) == fixed


def test_arguments_of_functions_are_shown_as_flags(small, capsys):
    def main(settings):
        raise InputError("`count=3` is too small for `rows=5`; raise `count`, as in `x = 3`.")

    assert end(small, main) == 2
    said = "small: --count=3 is too small for rows=5; raise --count, as in `x = 3`.\n"
    assert capsys.readouterr().err.startswith(said)


def test_arguments_that_are_true_or_false_are_shown_as_flags_without_a_value(small, capsys):
    def main(settings):
        raise InputError("pass `exact=True`, `exact=False` or `rows=True`.")

    assert end(small, main) == 2
    said = "small: pass --exact, --noexact or rows=True.\n"
    assert capsys.readouterr().err.startswith(said)
