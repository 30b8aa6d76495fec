"""Standard output whose reader ended first, as in `... | head`."""

import contextlib
import os
import select
import sys
from collections.abc import Iterator

_UNREAD = 1  # as rich has it


@contextlib.contextmanager
def ended_when_unread() -> Iterator[None]:
    """Within `with`, ends the program with code 1 when nobody reads its standard output any more.

    Other pipes that break are errors.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except BrokenPipeError:
        if not _is_unread():
            raise
        # Else the interpreter, which writes out what is left in the end, complains.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_UNREAD)


def _is_unread() -> bool:
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
