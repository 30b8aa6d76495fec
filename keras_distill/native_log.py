"""The log of libraries in C++, which print to the console whatever Python says."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

# Information and warnings of absl, TensorFlow and LiteRT; what else is printed may be an error.
_CHATTER = (
    r"[IW]\d{4} \d\d:\d\d:\d\d"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IW] "
    r"|(INFO|WARNING|VERBOSE): "
    r"|fully_quantize: "
)
_DROP, _SHOW = b"\0drop\n", b"\0show\n"
# A process of its own, for it must outlive this one: C++ may end that by abort, and a thread could
# not empty a pipe while C++ holds the interpreter.
_FILTER = r"""
import re, sys
chatter, drop, show = re.compile(sys.argv[1].encode()), b"\0drop\n", b"\0show\n"
held = []
for line in sys.stdin.buffer:
    text = line.removesuffix(drop).removesuffix(show)
    if chatter.match(text):
        held.append(text)
    else:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
    if text != line:
        break
if not line.endswith(drop):
    sys.stdout.buffer.writelines(held)
"""
_STDERR = 2
_lock = threading.RLock()  # there is one stderr


@contextlib.contextmanager
def quiet_native_log() -> Iterator[None]:
    r"""Within `with`, keeps information and warnings of C++ from stderr; all else passes.

    What was kept is shown after all if the block raises, or ends the process.

    Example:
        >>> with quiet_native_log():
        ...     count = os.write(2, b"I0000 00:00:00.5 pass.cc:437] MLIR is not enabled\n")
    """
    with _lock:
        try:
            console = os.dup(_STDERR)
        except OSError:  # a daemon's, which is closed
            yield
            return
        last_words = _SHOW
        # In a session of its own, where no Ctrl-C reaches it.
        with subprocess.Popen(
            [sys.executable, "-IS", "-c", _FILTER, _CHATTER],
            stdin=subprocess.PIPE,
            stdout=console,
            start_new_session=True,
        ) as process:
            assert process.stdin is not None
            sys.stderr.flush()
            os.dup2(process.stdin.fileno(), _STDERR)
            try:
                yield
                last_words = _DROP
            except KeyboardInterrupt:
                last_words = _DROP
                raise
            finally:
                sys.stderr.flush()
                os.dup2(console, _STDERR)
                os.close(console)
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(last_words)
                    process.stdin.close()
                process.wait()  # Popen itself waits for 0.25 s only after Ctrl-C
