"""Types and names as a user's type checkers and editor see them, in the installed package."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import jedi
import pytest

import keras_distill

TREE = Path(keras_distill.__file__).parents[1]

RIGHT = """
from keras_distill import BatchHardTriplet, Distiller, EmbeddingClient, build_embedder

distiller = Distiller(build_embedder(alpha=0.25), task_loss=BatchHardTriplet(margin=0.2))
reveal_type(distiller)
reveal_type(EmbeddingClient("localhost:8500", model="photos").embed(["robin.jpg"]))
"""
WRONG = """
import keras_distill
from keras_distill import BatchHardTriplet, Destiller

BatchHardTriplet(margn=0.2)
keras_distill.nothing
"""
EVERYTHING = "import keras_distill\n" + "".join(
    f"reveal_type(keras_distill.{name})\n" for name in keras_distill.__all__
)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A folder with a user's files, and an environment where the package was installed."""
    folder = tmp_path_factory.mktemp("user")
    environment = folder / "venv"
    venv.create(environment, with_pip=False)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(environment)}))
    # The dependencies, and not this tree: a .pth file of a folder that one names is not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    tree = folder / "tree"  # pip builds in the tree that it installs
    shutil.copytree(
        TREE / "keras_distill",
        tree / "keras_distill",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(TREE / name, tree)
    python = environment / "bin" / "python"
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-compile", "--no-index")
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", *options, tree, cwd=folder, check=True)
    shutil.rmtree(tree)
    assert (site / "keras_distill" / "py.typed").is_file()
    for name, text in (("right", RIGHT), ("wrong", WRONG), ("everything", EVERYTHING)):
        (folder / f"{name}.py").write_text(text)
    return folder


def run(*command, **options):
    hidden = {"PYTHONPATH", "MYPYPATH"}  # they may name this tree
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, encoding="utf-8", **options
    )


@pytest.fixture(scope="module")
def mypy(fresh):
    """What mypy says of the user's files, by file, as pairs of a line and a message."""
    done = run(
        *(sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--no-color-output"),
        *("--python-executable", fresh / "venv" / "bin" / "python"),
        *("right.py", "wrong.py", "everything.py"),
        cwd=fresh,
    )
    assert not done.stderr
    said = re.findall(r"^(\w+)\.py:(\d+): (?:error: |note: (?=Revealed))(.*)$", done.stdout, re.M)
    return by_file(said)


@pytest.fixture(scope="module")
def pyright(fresh):
    """What pyright says, as `mypy`; this build of it needs nothing but what PyPI has."""
    done = run(
        *(sys.executable, "-m", "basedpyright", "--outputjson"),
        *("--pythonpath", fresh / "venv" / "bin" / "python"),
        *("right.py", "wrong.py", "everything.py"),
        cwd=fresh,
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    return by_file(
        (Path(one["file"]).stem, one["range"]["start"]["line"] + 1, one["message"])
        for one in found
        if one["severity"] != "warning"  # of what dependencies do not say
    )


def by_file(said):
    files = {"right": [], "wrong": [], "everything": []}
    for file, line, message in said:
        files[file].append((int(line), message))
    return files


def test_mypy_knows_every_public_name(mypy):
    revealed = [message for _, message in mypy["everything"]]
    assert len(revealed) == len(keras_distill.__all__)
    for name, message in zip(keras_distill.__all__, revealed, strict=True):
        assert re.match(r'Revealed type is "(def |Overload\()', message), (name, message)


@pytest.mark.slow
def test_pyright_knows_every_public_name(pyright):
    revealed = [message for _, message in pyright["everything"]]
    assert len(revealed) == len(keras_distill.__all__)
    for name, message in zip(keras_distill.__all__, revealed, strict=True):
        expected = f"type[{name}]" if name[0].isupper() else "("
        assert message.startswith(f'Type of "keras_distill.{name}" is "{expected}'), message


@pytest.mark.parametrize("checker", ["mypy", pytest.param("pyright", marks=pytest.mark.slow)])
def test_checkers_accept_what_is_right_and_name_what_is_wrong(checker, request):
    said = request.getfixturevalue(checker)
    (_, distiller), (_, vectors) = said["right"]
    assert "Distiller" in distiller
    assert "ndarray" in vectors
    wrong = [(3, "Destiller"), (5, "margn"), (6, "nothing")]
    assert [line for line, _ in said["wrong"]] == [line for line, _ in wrong]
    for (_, message), (_, name) in zip(said["wrong"], wrong, strict=True):
        assert name in message


def test_an_editor_completes_the_public_names_and_shows_their_docstrings(fresh, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    project = jedi.Project(fresh, load_unsafe_extensions=False, smart_sys_path=False)
    environment = jedi.create_environment(fresh / "venv", safe=False)

    def script(text):
        return jedi.Script(text, project=project, environment=environment)

    offered = {name.name for name in script("import keras_distill\nkeras_distill.").complete()}
    assert set(keras_distill.__all__) <= offered
    text = "from keras_distill import Distiller\nDistiller("
    (signature,) = script(text).get_signatures()
    assert [parameter.name for parameter in signature.params][:3] == [
        "student",
        "teacher",
        "task_loss",
    ]
    assert signature.docstring(raw=True).startswith("Trains a student embedder")
    assert fresh / "venv" in Path(signature.module_path).parents


def test_the_names_for_checkers_are_those_that_are_imported_lazily():
    (block,) = (
        node
        for node in ast.parse(Path(keras_distill.__file__).read_text()).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {
        alias.asname: node.module for node in block.body for alias in node.names if alias.asname
    }
    assert seen == {name: f"keras_distill.{home}" for name, home in keras_distill._HOME_OF.items()}
