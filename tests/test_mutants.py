import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray")
PROGRAM = Path(__file__).with_name("mutants.py")
FILES = {
    "pyproject.toml": """
[tool.mutants]
package = "toy"
seconds = 30
processes = ["apart"]

[tool.mutants.rooms]
sums = ["sums/*.py"]
""",
    "toy/__init__.py": "",
    "toy/sums/__init__.py": "",
    "toy/sums/counter.py": """
class Counter:
    def __init__(self, start: int | None = None, **options) -> None:
        self.value = start or 1

    def up(self, by):
        self.value = self.value + by

    def reset(self):
        self.value = 0


def unseen(a, b):
    return a - b
""",
    "tests/sums/test_counter.py": """
import pytest

from toy.sums.counter import Counter, unseen


@pytest.fixture
def apart():
    return unseen


def test_up():
    counter = Counter()
    counter.up(3)
    assert counter.value == 4


def test_reset():
    counter = Counter(5)
    counter.reset()
    assert counter.value == 0


def test_in_another_process(apart):
    assert apart(3, 1) == 2
""",
}


@pytest.fixture
def project(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def mutants(project, *flags):
    return subprocess.run(
        [sys.executable, PROGRAM, *flags],
        cwd=project,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )


@pytest.mark.slow
def test_faults_are_caught_survive_and_are_tried_once(project):
    ended = mutants(project)
    assert ended.stderr == ""
    lines = ended.stdout.splitlines()
    survived = [line for line in lines if line.startswith("survived: ")]
    assert len(survived) == 1
    assert "toy/sums/counter.py:14: return a - b  ->  return a " in survived[0]
    left_out = [line for line in lines if line.endswith("->  pass")]
    assert len(left_out) == 2
    assert all("::test_" in line for line in left_out)
    assert "*options" not in ended.stdout
    assert "int | None" not in "".join(line.partition("->")[0] for line in lines if "def" in line)
    *_, total = lines
    assert total.split() == ["all", "7", "7", "6", "85.7%"]
    assert (project / "toy/sums/counter.py").read_text() == FILES["toy/sums/counter.py"]

    again = mutants(project, "--minutes=0").stdout
    assert again.splitlines() == [
        "survived: " + survived[0].removeprefix("survived: "),
        *lines[-4:],
    ]
    test = project / "tests/sums/test_counter.py"
    test.write_text(test.read_text() + "\n\ndef test_unseen():\n    assert unseen(3, 1) == 2\n")
    seen = mutants(project, "--again").stdout.splitlines()
    assert seen[-1].split() == ["all", "7", "7", "7", "100.0%"]


def test_a_test_that_always_fails_catches_nothing(project):
    test = project / "tests/sums/test_counter.py"
    test.write_text(test.read_text().replace("counter.value == 4", "counter.value == 5"))
    ended = mutants(project)
    assert ended.returncode != 0
    assert "test_counter.py::test_up ends with 1 without a fault, too; mend that" in ended.stderr
