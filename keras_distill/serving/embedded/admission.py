"""Which requests may run now."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from keras_distill.serving.embedded.refusal import Refusal


class Admission:
    """Lets so many requests run at once, and none any more when the server stops.

    Args:
        most: Most requests at once.
    """

    def __init__(self, most: int):
        self._most = most
        self._running = 0
        self._closed = False
        self._changed = threading.Condition()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Counts a request as running while the block lasts.

        Raises:
            Refusal: If there are too many, or the server stops.
        """
        with self._changed:
            if self._closed:
                raise Refusal(grpc.StatusCode.UNAVAILABLE, "The server is shutting down.")
            if self._running >= self._most:
                # In TF-Serving's words, which clients may look for.
                message = "Server Threadpool Exhausted"
                raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, message)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Admits nothing any more."""
        with self._changed:
            self._closed = True

    def drain(self, seconds: float) -> bool:
        """Waits for what runs, once it is closed.

        Args:
            seconds: How long at most.

        Returns:
            Whether everything has ended.
        """
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, seconds)
