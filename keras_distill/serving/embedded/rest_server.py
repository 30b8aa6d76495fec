"""HTTP server of the REST interface."""

import socket
import threading
import time
from typing import Any

import waitress
from waitress import wasyncore


class RestServer:
    """Waitress with a graceful shutdown; its port is bound by the constructor.

    Args:
        application: The WSGI application.
        host: Address to listen at.
        port: Port; 0 for a free one.
        threads: Number of requests that are answered at once; others wait.
        most_bytes: Maximum size of a body in bytes; longer ones get status 413.

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
        """Starts to answer requests."""
        self._loop.start()

    def take_nothing_new(self) -> None:
        """Stops accepting connections."""
        self._server.accepting = False

    def close(self, seconds: float) -> None:
        """Sends pending answers, and closes everything.

        Args:
            seconds: Maximum time to send them.
        """
        end = time.monotonic() + seconds
        while self._is_busy() and time.monotonic() < end:
            time.sleep(0.01)
        if self._loop.is_alive():
            # Within the loop, which may be waiting for a socket that is closed.
            self._server.trigger.pull_trigger(lambda: wasyncore.close_all(self._sockets))
            self._loop.join()
        else:
            wasyncore.close_all(self._sockets)
        self._server.task_dispatcher.shutdown(timeout=0.5)

    def _is_busy(self) -> bool:
        channels = list(self._server.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)
