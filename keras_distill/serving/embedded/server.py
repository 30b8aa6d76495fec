"""Embedded server: ports, threads, start and shutdown."""

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

from keras_distill.errors import InputError
from keras_distill.serving.embedded.admission import Admission
from keras_distill.serving.embedded.budget import Budget
from keras_distill.serving.embedded.grpc_services import add_services
from keras_distill.serving.embedded.metrics import Metrics
from keras_distill.serving.embedded.model_config import ModelConfig
from keras_distill.serving.embedded.models import Models
from keras_distill.serving.embedded.predicting import Predicting
from keras_distill.serving.embedded.refusal import Refusal
from keras_distill.serving.embedded.rest import Rest
from keras_distill.serving.embedded.rest_server import RestServer
from keras_distill.serving.embedded.secret import SecretInterceptor
from keras_distill.serving.embedded.servable import RequestLimits, Servable
from keras_distill.serving.embedded.warm_up import warm_up

_log = logging.getLogger(__name__)

# Threads for requests other than predictions, and for refusing excess ones.
_SPARE_THREADS = 8
_MOST_WAITING = 1000
# For answers that are computed but not yet sent.
_ANSWERING_SECONDS = 0.5
# Number of the largest images that are decoded at a time.
_LARGEST_AT_ONCE = 2
# Batches of the client and of the graph; one runs on each core, and another one gets ready.
_LARGEST_BATCH = 32


@dataclass(frozen=True)
class ServerSettings:
    """Addresses, credentials and limits of a server.

    Attributes:
        host: Address to listen at.
        port: Port for gRPC; 0 for a free one.
        rest_port: Port for REST and metrics; 0 for a free one, `None` for none.
        max_concurrent: Maximum number of predictions at once.
        max_message_bytes: Maximum size of a gRPC message in bytes, and of an input once unpacked.
        max_body_bytes: Maximum size of a REST body in bytes.
        max_pixels: Maximum number of pixels of an image.
        poll_seconds: Pause between two looks at the disk; 0 looks only once.
        credentials: TLS credentials; `None` for plain text.
        secret: Secret that callers must send; `None` for none.
    """

    host: str
    port: int
    rest_port: int | None
    max_concurrent: int
    max_message_bytes: int
    max_body_bytes: int
    max_pixels: int
    poll_seconds: float
    credentials: grpc.ServerCredentials | None = None
    secret: bytes | None = None


class EmbeddedServer:
    """Server for gRPC and REST; its ports are bound by the constructor.

    Args:
        settings: Its settings.
        wanted: Returns the models to serve; called on each refresh.
        folder: Folder of all models, outside of which no client can have a model loaded; `None`
            for any.

    Raises:
        InputError: If a port cannot be bound.
    """

    def __init__(
        self,
        settings: ServerSettings,
        wanted: Callable[[], list[ModelConfig]],
        folder: Path | None = None,
    ):
        self._settings = settings
        self._metrics = Metrics()
        self._admission = Admission(settings.max_concurrent)
        self._limits = RequestLimits(
            settings.max_message_bytes,
            settings.max_pixels,
            pixels=Budget(_LARGEST_AT_ONCE * settings.max_pixels),
            rows=Budget(_LARGEST_BATCH * ((os.cpu_count() or 1) + 1)),
        )
        self.models = Models(wanted, self._load)
        predicting = Predicting(self.models, self._admission, self._metrics)
        threads = settings.max_concurrent + _SPARE_THREADS
        self._grpc = grpc.server(
            ThreadPoolExecutor(threads, "grpc"),
            interceptors=[SecretInterceptor(settings.secret)] if settings.secret else [],
            options=(
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # a port that is in use is an error
            ),
            maximum_concurrent_rpcs=threads + _MOST_WAITING,
        )
        self._health = add_services(self._grpc, predicting, folder)
        self.grpc_address = _address(settings.host, self._bind_grpc())
        self._rest: RestServer | None = None
        self.rest_address = None
        if settings.rest_port is not None:
            self._rest = self._make_rest(Rest(predicting, self._metrics, settings.secret), threads)
            self.rest_address = _address(settings.host, self._rest.port)

    def start(self) -> None:
        """Loads the models, and then answers.

        Raises:
            InputError: If the configuration of the models cannot be used.
        """
        self.models.refresh()
        if self._settings.poll_seconds:
            pause = self._settings.poll_seconds
            threading.Thread(
                target=self.models.poll, args=[pause], name="poll", daemon=True
            ).start()
        self._grpc.start()
        if self._rest is not None:
            self._rest.start()
        self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    def stop(self, seconds: float) -> bool:
        """Refuses new requests, and waits for the running ones.

        Until the process ends, or `close`, new requests are refused as UNAVAILABLE, which clients
        retry.

        Args:
            seconds: Maximum time to wait.

        Returns:
            Whether all requests have ended.
        """
        end = time.monotonic() + seconds
        self._admission.close()  # before clients learn of it and rely on it
        self._health.enter_graceful_shutdown()
        self.models.close()
        if self._rest is not None:
            self._rest.take_nothing_new()
        drained = self._admission.drain(seconds)
        if drained:
            time.sleep(_ANSWERING_SECONDS)
        if self._rest is not None:
            self._rest.close(end - time.monotonic() if drained else 0)
        return drained

    def close(self) -> None:
        """Closes gRPC's port and connections, in a process that continues.

        The end of the process is better: here gRPC answers a call that arrives in this moment with
        CANCELLED (github.com/grpc/grpc/issues/41785), which no client retries.
        """
        self._grpc.stop(0).wait()

    def _load(self, folder: Path, name: str, version: int) -> Servable:
        try:
            servable = Servable(folder, name, version, self._limits)
            count = warm_up(servable, folder)
        except Refusal:
            self._metrics.count_load(str(folder), success=False)
            raise
        except Exception as error:  # a SavedModel can hold anything
            self._metrics.count_load(str(folder), success=False)
            _log.exception("%s", folder)
            message = f"{folder} cannot be loaded: {error}"
            raise Refusal(grpc.StatusCode.UNKNOWN, message) from error
        self._metrics.count_load(str(folder), success=True)
        _log.info("%s is loaded; it answered %d requests to warm up", folder, count)
        return servable

    def _bind_grpc(self) -> int:
        place = _address(self._settings.host, self._settings.port)
        try:
            if self._settings.credentials is None:
                return self._grpc.add_insecure_port(place)
            return self._grpc.add_secure_port(place, self._settings.credentials)
        except RuntimeError as error:
            raise _port_error(f"`port={self._settings.port}`", place) from error

    def _make_rest(self, application: Rest, threads: int) -> RestServer:
        host, port = self._settings.host, self._settings.rest_port or 0
        try:
            return RestServer(application, host, port, threads, self._settings.max_body_bytes)
        except OSError as error:
            raise _port_error(f"`rest_port={port}`", _address(host, port)) from error


def _port_error(setting: str, place: str) -> InputError:
    return InputError(
        f"{setting}: cannot listen at {place}; is it in use? Choose another port, or 0 for any."
    )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
