"""Which requests may run now."""

import threading
from collections.abc import Callable, Iterator
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

    def drain(self, seconds: float) -> bool:
        """Admits nothing any more and waits for what runs.

        Args:
            seconds: How long at most.

        Returns:
            Whether everything has ended.
        """
        with self._changed:
            self._closed = True
            return self._changed.wait_for(lambda: not self._running, seconds)


def deadline_check(seconds_left: Callable[[], float | None]) -> Callable[[], None]:
    """Returns what refuses a request for whose answer nobody waits any more.

    Args:
        seconds_left: Tells the seconds until the deadline; `None` if there is none.
    """

    def check() -> None:
        left = seconds_left()
        if left is not None and left <= 0:
            message = "The deadline passed before the model was run."
            raise Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, message)

    return check
