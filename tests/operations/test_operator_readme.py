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


def test_a_version_is_copied_whole(readme, run_shell, tmp_path):
    """By the commands of the README; a copy that differs never gets its number."""
    section = readme.partition("## Copying a version")[2].partition("\n## ")[0]
    commands = re.search(r"```sh\n(.*?)```", section, re.S)[1].replace("/srv/", "srv/")
    version = tmp_path / "models" / "photos" / "1"
    (version / "variables").mkdir(parents=True)
    (version / "variables" / "data").write_text("good")
    run_shell("find variables -type f -exec sha256sum {} + > SHA256SUMS", version)
    run_shell(commands, tmp_path)
    copied = tmp_path / "srv" / "models" / "photos"
    assert (copied / "1" / "variables" / "data").read_text() == "good"
    assert [path.name for path in copied.iterdir()] == ["1"]
    (version / "variables" / "data").write_text("bad")
    with pytest.raises(AssertionError, match="did NOT match"):
        run_shell(
            commands.replace("/1\n", "/2\n").replace("models/photos/2 ", "models/photos/1 "),
            tmp_path,
        )
    assert not (copied / "2").exists()
