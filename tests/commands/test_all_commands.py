import ast
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import keras_distill
from keras_distill.__main__ import COMMANDS

FOLDER = Path(keras_distill.__file__).parent
MODULE = [sys.executable, "-m", "keras_distill"]
SCRIPT = [str(Path(sysconfig.get_path("scripts")) / "keras-distill")]


@pytest.fixture(params=[MODULE, SCRIPT], ids=["module", "script"])
def program(request, tmp_path):
    """Runs the program where an import of TensorFlow or Keras ends the process with code 99."""
    for package in ("tensorflow", "keras"):
        (tmp_path / f"{package}.py").write_text("import os\n\nos._exit(99)\n")

    def run(*arguments):
        return subprocess.run(
            [*request.param, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": f"{tmp_path}:{FOLDER.parent}"},
        )

    run.name = "keras-distill" if request.param == SCRIPT else "python -m keras_distill"
    return run


def test_every_command_is_listed():
    files = {file.stem: file for file in FOLDER.glob("*.py")}
    files |= {file.parent.name: file for file in FOLDER.glob("*/__main__.py")}
    runnable = {
        name for name, file in files.items() if 'if __name__ == "__main__":' in file.read_text()
    }
    assert {*COMMANDS, "__main__"} == runnable
    assert len(COMMANDS) == len(set(COMMANDS))


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_the_list_has_a_line_for_each_command(program, monkeypatch, arguments):
    monkeypatch.setenv("COLUMNS", "200")
    done = program(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    usage, _, *lines, _, more = done.stdout.splitlines()
    assert usage == f"{program.name} COMMAND [--flag=value ...]"
    assert program.name in more
    for command, line in zip(COMMANDS, lines, strict=True):
        name, summary = line.split(maxsplit=1)
        (file,) = {FOLDER / f"{command}.py", FOLDER / command / "__main__.py"} & set(
            FOLDER.rglob("*")
        )
        text = ast.get_docstring(ast.parse(file.read_text()))
        assert (name, summary) == (command, text.splitlines()[0])


def test_version(program):
    done = program("--version")
    assert (done.returncode, done.stdout) == (0, f"keras_distill {keras_distill.__version__}\n")


@pytest.mark.parametrize("name", ["train", "client", "demo"])
def test_a_command_is_run_as_by_itself(program, early, name):
    for flag in ("--help", "--cuont=3"):
        done, alone = program(name, flag), early(name, flag)
        assert (done.returncode, done.stdout, done.stderr) == (alone.code, alone.out, alone.err)


def test_a_command_gets_its_flags_and_flag_files(program, photos, tmp_path):
    # By default the run directory is named after the flag file, so that it must be found.
    (tmp_path / "striped.flags").write_text(f"--dataset=folder:{photos}\n--epochs=0\n")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/striped").touch()
    done = program("train", "--flagfile=striped.flags")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("train: --run_dir=runs/striped is a file; give a folder.")
    assert program("embed-beam", "--help").stdout == program("embed_beam", "--help").stdout


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("trian", "'trian' is not a command. Did you mean train?"),
        ("embed-bean", "'embed-bean' is not a command. Did you mean embed_beam?"),
        ("quux", f"'quux' is not a command. There are {', '.join(COMMANDS)}."),
        ("--epochs=1", "'--epochs=1' is not a command; the command comes first: "),
    ],
)
def test_a_typo_is_named(program, argument, said):
    done = program(argument, "--help")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"keras_distill: {said}")
