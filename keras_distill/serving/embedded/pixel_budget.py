"""How many pixels are decoded at one time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """Lets requests wait while others decode, so that images fill only so much memory.

    Args:
        most: Most pixels at one time. A request with more waits until it is alone.
    """

    def __init__(self, most: int):
        self._most = most
        self._free = most
        self._changed = threading.Condition()

    @contextmanager
    def decoding(self, pixels: int) -> Iterator[None]:
        """Takes its share while the block lasts.

        Args:
            pixels: Of all images of the request.
        """
        share = min(pixels, self._most)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= share)
            self._free -= share
        try:
            yield
        finally:
            with self._changed:
                self._free += share
                self._changed.notify_all()
