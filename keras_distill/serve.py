"""Serves exported models on this machine, without Docker, as TF-Serving does.

Every model of --models is served in its newest version, by gRPC (PredictionService, ModelService,
grpc.health.v1) and by REST with Prometheus metrics. New versions are loaded as they appear. Where
answers differ from TF-Serving's, keras_distill/serving/README.md says so.

  python -m keras_distill.serve --models=models
  python -m keras_distill.serve --models=models --model_config=serving/config/models.config

When it is ready, it prints one line of JSON: addresses and models. It logs to stderr. On SIGTERM it
accepts no new requests, finishes the running ones, and ends.

Exit codes: 0 stopped, 2 unusable flags or input.
"""

import json
import logging
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from keras_distill.errors import InputError
from keras_distill.settings.command import SUCCESS, Command
from keras_distill.settings.serving import LAYOUT, ServedModelSettings, ServeSettings

if TYPE_CHECKING:
    from keras_distill.serving.embedded.model_config import ModelConfig

COMMAND = Command("keras_distill.serve", __doc__, ServeSettings)
_log = logging.getLogger("keras_distill.serve")


def main(settings: ServeSettings) -> NoReturn:
    """Serves until a signal ends the process."""
    settings.check()

    from keras_distill.serving.embedded.packages import check_packages

    check_packages()

    from keras_distill.serving.embedded.credentials import tls_credentials
    from keras_distill.serving.embedded.server_log import log_to_stderr, unprotected

    files = settings.tls_certificate, settings.tls_key, settings.client_ca
    try:
        credentials = tls_credentials(*files)
    except InputError as error:
        raise error.renamed(certificate="tls_certificate", key="tls_key") from error
    secret = settings.read_secret()
    log_to_stderr()
    if lacks := unprotected(settings.host, encrypted=bool(credentials), secret=bool(secret)):
        text = "--host=%s is open to other machines without %s: see --tls_certificate and "
        _log.warning(f"{text}--secret_file", settings.host, lacks)

    import tensorflow as tf

    from keras_distill.serving.embedded.model_config import read_config, scan_models
    from keras_distill.serving.embedded.server import EmbeddedServer

    models, config = settings.models_folder, settings.config_file

    def wanted() -> "list[ModelConfig]":
        try:
            return read_config(config, models) if config else scan_models(cast(Path, models))
        except InputError as error:
            raise error.renamed(file="model_config") from error

    # A configuration that cannot be used ends it before a port is taken.
    if not wanted():
        _warn_of_nothing(settings)
    server = EmbeddedServer(_server_settings(settings, credentials, secret), wanted, models)
    tf.config.threading.set_intra_op_parallelism_threads(settings.intra_op_threads)
    _run(server, settings.drain_seconds)


def _server_settings(settings: ServeSettings, credentials: Any, secret: bytes | None) -> Any:
    from keras_distill.serving.embedded.server import ServerSettings

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
        f"--models={models} holds no model. {LAYOUT}; `python -m keras_distill.export "
        f"--model=RUN --out={models} --name=NAME` writes one"
    )
    if not settings.poll_seconds:
        raise InputError(f"{said}. With --poll_seconds=0, the server does not look again.")
    _log.warning("%s, which is loaded as soon as it appears", said)


def _run(server: Any, drain_seconds: float) -> NoReturn:
    """Runs the server until a signal, and ends the process."""
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


if __name__ == "__main__":
    COMMAND.run(main)
