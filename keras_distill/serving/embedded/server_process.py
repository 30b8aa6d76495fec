"""Process of the embedded server, from its settings to the signal that ends it."""

import json
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any, NoReturn, cast

import tensorflow as tf

from keras_distill.errors import InputError, as_flags, renamed_arguments
from keras_distill.serving.embedded.model_config import ModelConfig, read_config, scan_models
from keras_distill.serving.embedded.server import EmbeddedServer, ServerSettings
from keras_distill.settings.command import SUCCESS
from keras_distill.settings.serving import LAYOUT, ServedModelSettings, ServeSettings
from keras_distill.settings.settings import names_of

_log = logging.getLogger(__name__)


def run_server(settings: ServeSettings, credentials: Any, secret: bytes | None) -> NoReturn:
    """Serves until SIGTERM or SIGINT, and ends the process.

    Prints one line of JSON when the server is ready.

    Args:
        settings: The settings.
        credentials: TLS credentials; `None` for plain text.
        secret: Secret that callers must send; `None` for none.

    Raises:
        InputError: If the configuration of the models cannot be used, or a port is taken.
    """
    models, config = settings.models_folder, settings.config_file

    def wanted() -> list[ModelConfig]:
        with renamed_arguments(file="model_config"):
            return read_config(config, models) if config else scan_models(cast(Path, models))

    # A configuration that cannot be used ends it before a port is taken.
    if not wanted():
        _warn_of_nothing(settings)
    server = EmbeddedServer(_server_settings(settings, credentials, secret), wanted, models)
    tf.config.threading.set_intra_op_parallelism_threads(settings.intra_op_threads)
    _run(server, settings.drain_seconds)


def _server_settings(
    settings: ServeSettings, credentials: Any, secret: bytes | None
) -> ServerSettings:
    rest_port = settings.rest_port
    if rest_port is None:
        rest_port = 8501 if credentials is None else -1
    return ServerSettings(
        host=settings.host,
        port=settings.port,
        rest_port=None if rest_port < 0 else rest_port,
        max_concurrent=settings.max_concurrent,
        max_message_bytes=settings.max_message_megabytes * 10**6,
        max_body_bytes=settings.max_body_megabytes * 10**6,
        max_pixels=settings.max_pixels,
        poll_seconds=settings.poll_seconds,
        credentials=credentials,
        secret=secret,
    )


def _warn_of_nothing(settings: ServedModelSettings) -> None:
    """Explains which layout is expected of a folder without a model."""
    models = settings.models_folder
    said = (
        f"`models={models}` holds no model. {LAYOUT}; `python -m keras_distill.export "
        f"--model=RUN --out={models} --name=NAME` writes one"
    )
    if not settings.poll_seconds:
        raise InputError(f"{said}. With `poll_seconds=0`, the server does not look again.")
    _log.warning("%s, which is loaded as soon as it appears", as_flags(said, names_of(settings)))


def _run(server: EmbeddedServer, drain_seconds: float) -> NoReturn:
    stopped = threading.Event()
    server.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    ready = {
        "grpc": server.grpc_address,
        "rest": server.rest_address,
        "models": server.models.available(),
    }
    print(json.dumps(ready), flush=True)
    stopped.wait()
    _log.info("stopping; running requests have %g seconds to finish", drain_seconds)
    if not server.stop(drain_seconds):
        _log.warning("some requests were cut off")
    logging.shutdown()
    # Threads that still run cannot be ended otherwise, nor connections without gRPC's CANCELLED.
    os._exit(SUCCESS)
