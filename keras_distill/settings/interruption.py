"""Ctrl-C in a command that is still loading.

An exception is the wrong way out of an import: raised within TensorFlow's C++ it aborts the process
with its stack, elsewhere it becomes an ImportError, or a traceback before the command has begun.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

INTERRUPTED = 130


def end_at_once_on_ctrl_c() -> None:
    """Lets Ctrl-C end the process in one line, until `interruptible` takes over.

    A signal that is ignored, as below `nohup`, stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within `with`, Ctrl-C raises KeyboardInterrupt, but in an import it ends the process.

    Does nothing unless `end_at_once_on_ctrl_c` was called.
    """
    if signal.getsignal(signal.SIGINT) is not _end:
        yield
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _end)


def _interrupt(number: int, frame: FrameType | None) -> None:
    caller = frame
    while caller is not None:
        if caller.f_code.co_filename.startswith("<frozen importlib"):
            _end(number, frame)
        caller = caller.f_back
    raise KeyboardInterrupt


def _end(number: int, frame: FrameType | None) -> None:
    name = os.path.basename(sys.argv[0]).removesuffix(".py")
    if name == "__main__":  # of a package
        name = os.path.basename(os.path.dirname(sys.argv[0]))
    elif name == "-m":
        name = "keras_distill"
    with contextlib.suppress(Exception):  # the signal may have come in the middle of a write
        sys.stdout.flush()
    os.write(2, f"{name}: interrupted\n".encode())
    os._exit(INTERRUPTED)
