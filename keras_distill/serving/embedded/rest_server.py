"""The server of HTTP under the REST interface."""

import socket
import threading
import time
from typing import Any

import waitress
from waitress import wasyncore


class RestServer:
    """Waitress with a start and a gentle end; its port is taken when it is made.

    Args:
        application: The WSGI application.
        host: Address to listen at.
        port: Port; 0 for a free one.
        threads: How many requests are answered at once; the others wait.
        most_bytes: Most bytes of a body; longer ones are answered with status 413.

    Raises:
        OSError: If the port cannot be taken.
    """

    def __init__(self, application: Any, host: str, port: int, threads: int, most_bytes: int):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._sockets: dict[int, Any] = {}
        self._server = waitress.create_server(
            application,
            self._sockets,
            sockets=[socket.create_server((host, port), family=family)],
            threads=threads,
            max_request_body_size=most_bytes,
            asyncore_use_poll=True,
            ident=None,
        )
        self.port: int = self._server.effective_port
        self._loop = threading.Thread(target=self._server.run, name="rest", daemon=True)

    def start(self) -> None:
        """Begins to answer."""
        self._loop.start()

    def take_nothing_new(self) -> None:
        """Accepts no connections any more."""
        self._server.accepting = False

    def close(self, seconds: float) -> None:
        """Sends what is to be sent, and closes everything.

        Args:
            seconds: How long it may take to send.
        """
        end = time.monotonic() + seconds
        while self._is_busy() and time.monotonic() < end:
            time.sleep(0.01)
        if self._loop.is_alive():
            # Within the loop: it may be waiting for what is closed.
            self._server.trigger.pull_trigger(lambda: wasyncore.close_all(self._sockets))
            self._loop.join()
        else:
            wasyncore.close_all(self._sockets)
        self._server.task_dispatcher.shutdown(timeout=0.5)

    def _is_busy(self) -> bool:
        channels = list(self._server.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)
