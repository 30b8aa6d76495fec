"""Serves exported models on this machine, without Docker, as TF-Serving does.

Every model of --models is served in its newest version, by gRPC (PredictionService, ModelService,
grpc.health.v1) and by REST with Prometheus metrics. New versions are loaded as they appear. Where
answers differ from TF-Serving's, keras_distill/serving/README.md says so.

  python -m keras_distill.serve --models=models
  python -m keras_distill.serve --models=models --model_config=serving/config/models.config

When it is ready, it prints one line of JSON: addresses and models. It logs to stderr. On SIGTERM it
takes nothing new, finishes what runs, and ends.

Exit codes: 0 stopped, 2 unusable flags or input.
"""

import importlib.util
import ipaddress
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from keras_distill.data.pixel_limit import MAX_PIXELS
from keras_distill.errors import InputError
from keras_distill.settings.command import SUCCESS, Command

if TYPE_CHECKING:
    from keras_distill.serving.embedded.model_config import ModelConfig

COMMAND = Command("keras_distill.serve", __doc__)
_log = logging.getLogger("keras_distill.serve")
_LAYOUT = "What is served is MODELS/NAME/VERSION/saved_model.pb, where VERSION is a number"
_MODELS = "Models"
COMMAND.string(
    _MODELS,
    "models",
    "",
    "Folder of all models, as export --out: NAME/VERSION/saved_model.pb. Required.",
)
COMMAND.string(
    _MODELS,
    "model_config",
    "",
    "File with a ModelServerConfig: versions and labels. Of each base_path the last part is sought "
    "in --models, or the whole path without --models. An edit takes effect at the next poll.",
)
COMMAND.number(_MODELS, "poll_seconds", 2.0, "Pause between two looks for versions; 0 for no more.")
_ADDRESS = "Address"
COMMAND.string(_ADDRESS, "host", "127.0.0.1", "Address to listen at; 0.0.0.0 for all of IPv4.")
COMMAND.integer(_ADDRESS, "port", 8500, "Port of gRPC; 0 for a free one.", 0, 65535)
COMMAND.integer(
    _ADDRESS,
    "rest_port",
    None,
    "Port of REST and metrics, never encrypted; 0 for a free one, -1 for none. 8501 if not given, "
    "none with TLS.",
    -1,
    65535,
)
_SPEED = "Speed"
COMMAND.integer(
    _SPEED,
    "intra_op_threads",
    1,
    "Threads for one operation of a graph, as TF-Serving's --tensorflow_intra_op_parallelism. One "
    "is best for small models; a large one answers a lone request sooner with 0, a thread a core.",
    0,
    1024,
)
_LIMITS = "Limits"
COMMAND.integer(_LIMITS, "max_concurrent", 64, "Predictions at once; more are refused.", 1, 4096)
COMMAND.integer(_LIMITS, "max_message_megabytes", 64, "Longest message of gRPC.", 1, 2047)
COMMAND.integer(_LIMITS, "max_body_megabytes", 16, "Longest body of REST.", 1, 2047)
COMMAND.integer(_LIMITS, "max_pixels", MAX_PIXELS, "Pixels of the largest image.", 1)
COMMAND.number(_LIMITS, "drain_seconds", 30.0, "Time for what runs when the server stops.")
_ACCESS = "Access"
COMMAND.string(_ACCESS, "tls_certificate", "", "PEM file of the server's certificate.")
COMMAND.string(_ACCESS, "tls_key", "", "PEM file of its private key.")
COMMAND.string(_ACCESS, "client_ca", "", "PEM file of those who sign clients' certificates.")
COMMAND.string(
    _ACCESS, "secret_file", "", "File with a secret: callers send authorization: Bearer SECRET."
)

# By module, what provides it; the extra `serve` has all of it.
_NEEDED = {
    "grpc_health": "grpcio-health-checking",
    "prometheus_client": "prometheus-client",
    "tensorflow_serving": "tensorflow-serving-api",
    "waitress": "waitress",
    "werkzeug": "werkzeug",
}


def main(flags: Any) -> NoReturn:
    """Serves until it is told to stop, which ends the process."""
    models, config = _check_flags(flags)
    secret = _read_secret(flags.secret_file)
    check_packages()

    from keras_distill.serving.embedded.credentials import tls_credentials

    credentials = tls_credentials(flags.tls_certificate, flags.tls_key, flags.client_ca)
    _log_to_stderr()
    _warn_of_strangers(flags.host, encrypted=credentials is not None, secret=secret is not None)

    import tensorflow as tf

    from keras_distill.serving.embedded.model_config import read_config, scan_models
    from keras_distill.serving.embedded.server import EmbeddedServer, ServerSettings

    rest_port = flags.rest_port
    if rest_port is None:
        rest_port = 8501 if credentials is None else -1
    settings = ServerSettings(
        host=flags.host,
        port=flags.port,
        rest_port=None if rest_port < 0 else rest_port,
        max_concurrent=flags.max_concurrent,
        max_message_bytes=flags.max_message_megabytes * 10**6,
        max_body_bytes=flags.max_body_megabytes * 10**6,
        max_pixels=flags.max_pixels,
        poll_seconds=flags.poll_seconds,
        credentials=credentials,
        secret=secret,
    )

    def wanted() -> "list[ModelConfig]":
        return read_config(config, models) if config else scan_models(cast(Path, models))

    # A configuration that cannot be used ends it before a port is taken.
    if not wanted():
        _warn_of_nothing(cast(Path, models), flags.poll_seconds)
    server = EmbeddedServer(settings, wanted, models)
    told_to_stop = threading.Event()
    tf.config.threading.set_intra_op_parallelism_threads(flags.intra_op_threads)
    server.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told_to_stop.set())
    ready = {
        "grpc": server.grpc_address,
        "rest": server.rest_address,
        "models": server.models.available(),
    }
    print(json.dumps(ready), flush=True)
    told_to_stop.wait()
    _log.info("stopping; what runs has %g seconds", flags.drain_seconds)
    if not server.stop(flags.drain_seconds):
        _log.warning("some requests were cut off")
    logging.shutdown()
    # Threads that still run cannot be ended otherwise, nor connections without gRPC's CANCELLED.
    os._exit(SUCCESS)


def check_packages() -> None:
    """Checks that the packages of the extra `serve` are there.

    Raises:
        InputError: If one is missing.
    """
    missing = [name for module, name in _NEEDED.items() if not importlib.util.find_spec(module)]
    if missing:
        raise InputError(
            f"{', '.join(missing)} is not installed; pip install 'keras_distill[serve]'."
        )


def _check_flags(flags: Any) -> tuple[Path | None, Path | None]:
    """Returns the folder of the models and the file of the configuration."""
    if not (flags.models or flags.model_config):
        raise InputError("--models is required: the folder that holds one folder a model.")
    models = Path(flags.models).absolute() if flags.models else None
    if models is not None:
        _check_layout(models, flags.models)
    if flags.model_config and not Path(flags.model_config).is_file():
        raise InputError(f"--model_config={flags.model_config} is not a file.")
    return models, Path(flags.model_config) if flags.model_config else None


def _check_layout(models: Path, given: str) -> None:
    """Rejects a folder that is inside of the one that is meant."""
    if not models.is_dir():
        raise InputError(f"--models={given} is not a folder; export writes one by --out.")
    is_number = models.name.isdecimal()
    if (models / "saved_model.pb").is_file():
        raise InputError(
            f"--models={given} is a single SavedModel. {_LAYOUT}; "
            + (f"give --models={models.parents[1]}." if is_number else "move it to such a place.")
        )
    if any(path.name.isdecimal() for path in models.iterdir()):
        raise InputError(
            f"--models={given} is one model, with its versions. {_LAYOUT}; "
            f"give --models={models.parent}."
        )


def _warn_of_nothing(models: Path, poll_seconds: float) -> None:
    """Says what is sought where nothing is found."""
    said = (
        f"--models={models} holds no model. {_LAYOUT}; `python -m keras_distill.export "
        f"--model=RUN --out={models} --name=NAME` writes one"
    )
    if not poll_seconds:
        raise InputError(f"{said}. With --poll_seconds=0, nobody looks again.")
    _log.warning("%s, which is loaded as soon as it is there", said)


def _read_secret(file: str) -> bytes | None:
    if not file:
        return None
    try:
        secret = Path(file).read_bytes().strip()
    except OSError as error:
        raise InputError(f"--secret_file={file} cannot be read: {error.strerror}.") from error
    if not (secret.isascii() and secret.decode("ascii").isprintable() and secret):
        raise InputError(f"--secret_file={file} must hold one line of printable ASCII.")
    return secret


def _log_to_stderr() -> None:
    # Not by the root logger, which TensorFlow sets to its liking.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("keras_distill")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _warn_of_strangers(host: str, *, encrypted: bool, secret: bool) -> None:
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    missing = [name for name, has in (("TLS", encrypted), ("a secret", secret)) if not has]
    if missing and not is_local:
        _log.warning(
            "--host=%s is open to other machines without %s: see --tls_certificate and "
            "--secret_file",
            host,
            " and ".join(missing),
        )


if __name__ == "__main__":
    COMMAND.run(main)
