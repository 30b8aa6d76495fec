import os
import signal
import subprocess
import sys
import time

import pytest

from keras_distill.errors import InputError
from keras_distill.serving.export.versions import published_version


def publish(base, version=None):
    with published_version(base, version) as (number, folder):
        (folder / "saved_model.pb").touch()
    return number


def names(base):
    return sorted(path.name for path in base.iterdir() if not path.name.startswith("."))


def test_first_version_is_1_and_the_next_one_follows_the_highest(tmp_path):
    base = tmp_path / "deep" / "birds"
    assert publish(base) == 1
    assert (base / "1" / "saved_model.pb").exists()
    for other in ("9", "010", "77-old", "notes", ".tmp-77"):
        (base / other).mkdir()
    assert publish(base) == 11
    assert publish(base, 5) == 5
    assert publish(base) == 12
    assert (base / ".tmp-77").is_dir()  # an operator's


def test_number_of_a_deleted_version_is_not_used_again(tmp_path):
    for _ in range(3):
        publish(tmp_path)
    for number in ("1", "3"):
        (tmp_path / number / "saved_model.pb").unlink()
        (tmp_path / number).rmdir()
    with pytest.raises(InputError, match=r"version=1 of .* existed before; leave it out"):
        publish(tmp_path, 1)
    assert publish(tmp_path) == 4
    assert names(tmp_path) == ["2", "4"]


@pytest.mark.parametrize(
    ("version", "said"), [(3, "exists"), (4, "exists"), (0, "not positive"), (-1, "not positive")]
)
def test_version_that_cannot_be_is_refused(tmp_path, version, said):
    for present in ("3", "04"):
        (tmp_path / present).mkdir()
    with pytest.raises(InputError, match=rf"version={version} of .*{said}"):
        publish(tmp_path, version)
    assert names(tmp_path) == ["04", "3"]


def fail(base):
    with published_version(base) as (_, folder):
        (folder / "half").touch()
        raise RuntimeError("a check failed")


def test_number_of_an_export_that_failed_stays_free(tmp_path):
    with pytest.raises(RuntimeError, match="a check failed"):
        fail(tmp_path)
    assert names(tmp_path) == []
    assert not list(tmp_path.glob(".tmp-*"))
    assert publish(tmp_path) == 1


def test_damaged_record_is_refused(tmp_path):
    publish(tmp_path)
    (tmp_path / ".published_versions").write_text("one\n")
    with pytest.raises(InputError, match=r"does not list numbers .* one a line"):
        publish(tmp_path)
    assert names(tmp_path) == ["1"]


def test_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="could not be written"):
        publish(tmp_path / "file")
    with pytest.raises(InputError, match="could not be written"):
        publish(tmp_path / "file" / "birds")


PROGRAM = """
import sys, time
from pathlib import Path
from keras_distill.serving.export.versions import published_version
base, seconds = Path(sys.argv[1]), float(sys.argv[2])
with published_version(base) as (number, folder):
    (folder / "saved_model.pb").touch()
    (base / ".inside").touch()
    time.sleep(seconds)
print(number)
"""


def start(base, seconds):
    command = [sys.executable, "-c", PROGRAM, str(base), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)


def test_exports_at_once_take_different_numbers(tmp_path):
    processes = [start(tmp_path, 0.2) for _ in range(4)]
    numbers = [process.communicate()[0].strip() for process in processes]
    assert sorted(numbers) == ["1", "2", "3", "4"] == names(tmp_path)


def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path):
    process = start(tmp_path, 60)
    while not (tmp_path / ".inside").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert names(tmp_path) == []
    assert len(list(tmp_path.glob(".tmp-1-*"))) == 1
    assert publish(tmp_path) == 1
    assert not list(tmp_path.glob(".tmp-*"))
