import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from keras_distill import InputError
from keras_distill.publishing import published_file, published_folder


def everything(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def start(program, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path):
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} never appeared"
        time.sleep(0.01)


def fail_halfway(path, error):
    path.write_text("half")
    raise error("on the way")


def test_a_folder_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "deep/down/target"
    with published_folder(target) as folder:
        assert folder.parent == target.parent  # the same file system, or there is no renaming
        assert folder.name.startswith(".tmp-")
        (folder / "sub").mkdir()
        (folder / "sub/data").write_text("all")
        assert not target.exists()
    assert everything(tmp_path / "deep/down") == ["target", "target/sub", "target/sub/data"]
    assert (target / "sub/data").read_text() == "all"


def test_a_file_appears_when_the_block_ends_and_replaces_the_old_one(tmp_path):
    target = tmp_path / "deep/model.keras"
    for content in ("first", "second"):
        before = target.read_text() if target.exists() else None
        with published_file(target) as file:
            assert file.parent == target.parent
            assert file.suffix == ".keras"
            assert file.name.startswith(".")
            file.write_text(content)
            assert (target.read_text() if target.exists() else None) == before
        assert everything(target.parent) == ["model.keras"]
        assert target.read_text() == content


def test_a_published_folder_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").mkdir()
    with published_folder(tmp_path / "target"):
        pass
    assert (tmp_path / "target").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, InputError])
def test_an_error_inside_leaves_nothing_and_passes_through(tmp_path, error):
    with pytest.raises(error, match="on the way"), published_folder(tmp_path / "a") as folder:
        fail_halfway(folder / "half", error)
    with pytest.raises(error, match="on the way"), published_file(tmp_path / "b") as file:
        fail_halfway(file, error)
    assert everything(tmp_path) == []


def test_an_error_inside_keeps_the_old_file(tmp_path):
    target = tmp_path / "summary.json"
    target.write_text("old")
    with pytest.raises(RuntimeError), published_file(target) as file:
        fail_halfway(file, RuntimeError)
    assert everything(tmp_path) == ["summary.json"]
    assert target.read_text() == "old"


def test_a_file_that_was_never_written_is_an_error(tmp_path):
    with pytest.raises(InputError, match="could not be written"), published_file(tmp_path / "a"):
        pass
    assert everything(tmp_path) == []


def test_an_existing_folder_is_kept_or_an_error(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").write_text("old")
    with published_folder(target) as folder:
        (folder / "new").write_text("new")
    assert everything(tmp_path) == ["target", "target/old"]
    with (
        pytest.raises(InputError, match="could not be written"),
        published_folder(target, keep_existing=False) as folder,
    ):
        (folder / "new").write_text("new")
    assert everything(tmp_path) == ["target", "target/old"]


KILLED = """
import sys, time
from pathlib import Path
from keras_distill.publishing import published_file, published_folder
root, kind = Path(sys.argv[1]), sys.argv[2]
publish = {"folder": published_folder, "file": published_file}[kind]
with publish(root / "target") as temporary:
    (temporary / "half" if kind == "folder" else temporary).write_text("half")
    (root / "ready").touch()
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_killed_process_leaves_no_target_and_does_not_block_the_next(tmp_path, kind):
    process = start(KILLED, tmp_path, kind)
    wait_for(tmp_path / "ready")
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    visible = [path.name for path in tmp_path.iterdir() if not path.name.startswith(".tmp-")]
    assert visible == ["ready"]
    if kind == "folder":
        with published_folder(tmp_path / "target") as folder:
            (folder / "whole").touch()
        assert everything(tmp_path / "target") == ["whole"]
    else:
        with published_file(tmp_path / "target") as file:
            file.write_text("whole")
        assert (tmp_path / "target").read_text() == "whole"


RACING = """
import sys, time
from pathlib import Path
from keras_distill.publishing import published_file, published_folder
root, kind, name = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
publish = {"folder": published_folder, "file": published_file}[kind]
with publish(root / "target") as temporary:
    if kind == "folder":
        for index in range(20):
            (temporary / f"{index:02d}").write_text(name)
    else:
        temporary.write_text(name * 20)
    (root / f"ready-{name}").touch()
    while not (root / "go").exists():
        time.sleep(0.001)
"""


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_two_processes_at_once_publish_one_whole(tmp_path, kind):
    processes = [start(RACING, tmp_path, kind, name) for name in "AB"]
    for name in "AB":
        wait_for(tmp_path / f"ready-{name}")
    assert not (tmp_path / "target").exists()
    (tmp_path / "go").touch()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    target = tmp_path / "target"
    if kind == "folder":
        written = [path.read_text() for path in sorted(target.iterdir())]
    else:
        written = list(target.read_text())
    assert written in (["A"] * 20, ["B"] * 20)
    assert not list(tmp_path.glob(".tmp-*"))


def write_to_a_full_disk(path):
    path.symlink_to("/dev/full")  # Linux: every write to it fails as on a full disk
    if path.exists():
        path.write_bytes(bytes(10))
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_an_error_with_the_remedy(tmp_path):
    message = r"could not be written \(No space left on device.*Free some space or choose another"
    with pytest.raises(InputError, match=message), published_folder(tmp_path / "a") as folder:
        write_to_a_full_disk(folder / "vectors")
    with pytest.raises(InputError, match=message), published_file(tmp_path / "b") as file:
        write_to_a_full_disk(file)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("publish", [published_folder, published_file])
def test_too_many_open_files_are_no_full_disk(tmp_path, publish, few_files):
    message = (
        r"could not be written \(Too many open files.*Raise the limit of open files.*ulimit -n"
    )
    with pytest.raises(InputError, match=message), publish(tmp_path / "a") as path, few_files(0):
        (path / "vectors" if path.is_dir() else path).open("wb")
    assert everything(tmp_path) == []


@pytest.mark.parametrize("publish", [published_folder, published_file])
def test_a_place_that_cannot_be_written_is_an_error_that_names_it(tmp_path, publish):
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / "file/below/target"
    with pytest.raises(InputError) as error, publish(target):
        raise AssertionError("there is nowhere to write")
    assert str(error.value).startswith(f"{str(target)!r} could not be written (")
    assert isinstance(error.value.__cause__, OSError)
    assert everything(tmp_path) == ["file"]


def test_what_is_in_the_way_stays(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError), published_folder(tmp_path / "file"):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError), published_file(tmp_path / "folder") as file:
        file.touch()
    assert everything(tmp_path) == ["file", "folder"]


def test_publishing_needs_no_tensorflow(run_python):
    program = """
import sys
import keras_distill.publishing
print("tensorflow" in sys.modules, "keras" in sys.modules)
"""
    assert run_python(program) == "False False\n"


def test_the_umask_is_left_as_it_was_all_the_time(tmp_path, monkeypatch):
    old = os.umask(0o027)
    umask = os.umask

    def changed(mask):
        raise AssertionError("other threads would write files that everybody can read")

    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", changed)
            with published_folder(tmp_path / "target"):
                pass
        assert umask(0o027) == 0o027
    finally:
        os.umask(old)
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o750
