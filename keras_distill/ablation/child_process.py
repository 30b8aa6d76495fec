"""Commands in processes that end with this one, however it ends."""

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def run_logged(command: Sequence[str], log: Path) -> int:
    """Runs a command until it ends, and stops it if this process is stopped.

    On SIGINT, SIGTERM and SIGHUP the command receives SIGTERM and is waited for. On Linux it
    receives SIGTERM as well where this process is killed by a signal that it cannot handle.

    Args:
        command: The program, as an absolute path, and its arguments.
        log: File that its output is appended to, after the command line.

    Returns:
        Its exit code.
    """
    # By a program between: code in a fork of a process with threads could wait for a lock forever.
    bound = [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]
    with log.open("a") as file, _exit_by_exception():
        file.write(f"$ {shlex.join(command)}\n")
        file.flush()
        # In a group of its own: a terminal's Ctrl-C would be the first of two signals, and a
        # training that receives two ends without a checkpoint.
        process = subprocess.Popen(bound, stdout=file, stderr=subprocess.STDOUT, process_group=0)
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            process.kill()  # if that was not waited for


@contextlib.contextmanager
def _exit_by_exception() -> Iterator[None]:
    """Lets SIGTERM and a terminal that closes raise SystemExit, unless they are ignored."""
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in former.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _become(parent: int, command: Sequence[str]) -> None:
    """Replaces this process by a command that receives SIGTERM when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before
        sys.exit(128 + signal.SIGTERM)
    os.execv(command[0], list(command))


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
