"""Budget of a resource that concurrent requests share."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS_BETWEEN_CHECKS = 0.2


class Budget:
    """Lets requests wait while others use up a shared resource, such as memory for pixels.

    Requests are admitted in the order in which they arrive, so that small ones do not keep a large
    one out.

    Args:
        most: Maximum amount in use, such as pixels. A request that needs more runs alone.
    """

    def __init__(self, most: int):
        self._most = most
        self._free = most
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def taking(self, amount: int, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Takes an amount of the resource while the block lasts.

        Args:
            amount: Amount that the request needs; 0 never waits.
            check: Called now and then while it waits; raises if the caller has given up.
        """
        share = min(amount, self._most)
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
