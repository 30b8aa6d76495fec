import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What pytest loads to run the tests of Apache Beam, and what they run.
BEAM_TESTS = [
    "tests/conftest.py",
    "tests/commands/test_embed_beam.py",
]


def imported_packages(path):
    """The top-level packages that a file imports, wherever in its text."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("file", BEAM_TESTS)
def test_the_environment_of_beam_has_what_its_tests_import(file):
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements-beam.lock").read_text(), re.M))
    assert "apache-beam" in locked
    ours = {path.stem for path in (ROOT / "tests").glob("[fp]*/*.py")}
    known = {"keras_distill", *sys.stdlib_module_names, *ours}
    distributions = packages_distributions()
    for package in set(imported_packages(ROOT / file)) - known:
        names = {name.lower().replace("_", "-") for name in distributions[package]}
        assert names & locked, f"{file} imports {package}"


def test_ci_runs_the_tests_of_beam_after_the_others():
    commands = (ROOT / ".ci/run").read_text().splitlines()
    assert commands.index("make beam") > commands.index("make test")
