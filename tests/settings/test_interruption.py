import signal
import subprocess
import sys

import pytest

from keras_distill.__main__ import COMMANDS

# As of C++, which makes an ImportError of whatever is raised within it.
INTERRUPTED_IMPORT = """
import os, signal, time

try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
except BaseException as error:
    raise ImportError("initialization failed") from error
os._exit(7)
"""


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """Runs a command in which Ctrl-C comes while a package is imported."""

    def run(arguments, package, **options):
        folder = tmp_path_factory.mktemp("interrupted")
        (folder / f"{package}.py").write_text(INTERRUPTED_IMPORT)
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(folder)},
            **options,
        )

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_before_a_command_begins_is_told_in_one_line(interrupted, command):
    done = interrupted(["-m", f"keras_distill.{command}", "--help"], "absl")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == f"{command}: interrupted\n"


def test_ctrl_c_before_a_command_is_chosen_is_told_in_one_line(interrupted):
    done = interrupted(["-m", "keras_distill"], "textwrap")
    assert (done.returncode, done.stderr) == (130, "keras_distill: interrupted\n")
    done = interrupted(["-m", "keras_distill", "train"], "absl")
    assert (done.returncode, done.stderr) == (130, "train: interrupted\n")


def test_ctrl_c_while_tensorflow_is_loaded_is_told_in_one_line(interrupted, photos, tmp_path):
    train = [f"--dataset=folder:{photos}", "--epochs=0", f"--run_dir={tmp_path}"]
    for command, flags in {"train": train, "doctor": []}.items():
        done = interrupted(["-m", f"keras_distill.{command}", *flags], "tensorflow")
        assert (done.returncode, done.stderr) == (130, f"{command}: interrupted\n")


def test_a_ctrl_c_that_is_ignored_stays_so(interrupted):
    def ignore():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    done = interrupted(["-m", "keras_distill.train"], "absl", preexec_fn=ignore)
    assert (done.returncode, done.stderr) == (7, "")


def test_outside_of_imports_ctrl_c_can_be_caught(run_python):
    code = """
import os, signal, sys, time
from keras_distill.settings.interruption import end_at_once_on_ctrl_c, interruptible

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)

with interruptible():  # which has nothing to do yet
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
end_at_once_on_ctrl_c()
with interruptible():
    try:
        interrupt()
    except KeyboardInterrupt:
        print("cleaned up", flush=True)
if os.fork() == 0:
    interrupt()
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    assert run_python(code).split("\n") == ["cleaned up", "130", ""]


def test_a_program_of_a_user_keeps_its_own_ctrl_c(tmp_path):
    (tmp_path / "bird_finder.py").write_text(
        "import signal, sys, keras_distill\n"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
    )
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds/__init__.py").write_text("import bird_finder")
    (tmp_path / "birds/__main__.py").write_text("")
    for arguments in (["bird_finder.py"], ["-m", "birds", "keras_distill.train"]):
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, cwd=tmp_path
        )
        assert (done.stdout, done.stderr) == ("True\n", "")
