"""How many pixels are decoded at one time."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS_BETWEEN_CHECKS = 0.2


class PixelBudget:
    """Lets requests wait while others decode, so that images fill only so much memory.

    They are let in in the order in which they come, so that small ones do not keep a large one out.

    Args:
        most: Most pixels at one time. A request with more waits until it is alone.
    """

    def __init__(self, most: int):
        self._most = most
        self._free = most
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def decoding(self, pixels: int, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Takes its share while the block lasts.

        Args:
            pixels: Of all images of the request; 0 never waits.
            check: Called now and then while it waits; raises if nobody waits for it any more.
        """
        share = min(pixels, self._most)
        place = object()
        with self._changed:
            self._waiting.append(place)
            try:
                while share and (self._waiting[0] is not place or self._free < share):
                    self._changed.wait(_SECONDS_BETWEEN_CHECKS)
                    check()
                self._free -= share
            finally:
                self._waiting.remove(place)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += share
                self._changed.notify_all()
