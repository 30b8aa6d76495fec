import re
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def readme(serving):
    return (serving / "README.md").read_text()


def test_links_lead_somewhere(serving, readme):
    links = re.findall(r"\]\(([^)#]+)", readme)
    assert links
    for link in links:
        assert (serving / link).exists(), link


def test_files_of_the_commands_exist(serving, readme):
    named = re.findall(r"\bserving/(?:config|systemd)/[\w.-]+\.(?:config|service)\b", readme)
    assert named
    for path in named:
        assert (serving.parent / path).is_file(), path


@pytest.mark.parametrize("command", ["export", "client"])
def test_flags_of_our_commands_exist(readme, command):
    lines = [line for line in readme.splitlines() if f"keras_distill.{command} " in line]
    used = set(re.findall(r"--(\w+)", "\n".join(lines)))
    assert used
    help_text = subprocess.run(
        [sys.executable, "-m", f"keras_distill.{command}", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert used <= set(re.findall(r"^  --(\w+)", help_text, re.M))
