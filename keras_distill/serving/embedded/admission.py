"""Admission of requests: at most so many at once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from keras_distill.serving.embedded.refusal import Refusal


class Admission:
    """Limits the requests that run at once, and admits none when the server stops.

    Args:
        most: Maximum number of requests at once.
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
        if self._closed:  # callers who do not pause would keep the lock from those who wait for it
            raise _stopping()
        with self._changed:
            if self._closed:
                raise _stopping()
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
        """Stops admitting requests."""
        with self._changed:
            self._closed = True

    def drain(self, seconds: float) -> bool:
        """Waits for the running requests, after `close`.

        Args:
            seconds: Maximum time to wait.

        Returns:
            Whether all of them have ended.
        """
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, seconds)


def _stopping() -> Refusal:
    return Refusal(grpc.StatusCode.UNAVAILABLE, "The server is shutting down.")
