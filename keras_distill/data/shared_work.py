"""Work that several processes share, piece by piece."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

Piece = TypeVar("Piece")
_SECONDS_BETWEEN_LOOKS = 0.2  # at pieces that other processes work at


def share_work(
    pieces: Iterable[Piece],
    *,
    lock: Callable[[Piece], FileLock],
    is_done: Callable[[Piece], bool],
    work: Callable[[Piece], object],
    on_found: Callable[[Piece], object] = lambda piece: None,
) -> None:
    """Works at pieces until all are done, here or in another process that does the same.

    Args:
        pieces: The pieces.
        lock: Returns the lock of a piece, which a process that is killed releases.
        is_done: Tells whether a piece is done.
        work: Does a piece, while its lock is held.
        on_found: Called for each piece that another process has done meanwhile.
    """
    pending = list(pieces)
    while pending:
        elsewhere = []
        for piece in pending:
            held = lock(piece)
            try:
                with held.acquire(blocking=False):
                    if is_done(piece):
                        on_found(piece)
                    else:
                        work(piece)
                    # Whoever waits for this very file finds the piece done afterwards.
                    Path(held.lock_file).unlink(missing_ok=True)
            except Timeout:
                elsewhere.append(piece)
        if len(elsewhere) == len(pending):
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        pending = elsewhere
