"""Every model that a server has, by its metrics."""

import sys
from collections.abc import Iterator

import grpc

from keras_distill.errors import InputError
from keras_distill.serving.client.arguments import check_address
from keras_distill.serving.client.client import EmbeddingClient
from keras_distill.serving.client.errors import ServingError
from keras_distill.serving.client.model_status import VersionStatus
from keras_distill.serving.client.opening import open_client, open_rest_client
from keras_distill.settings.client import ConnectionSettings


def every_status(
    settings: ConnectionSettings,
) -> Iterator[tuple[EmbeddingClient, list[VersionStatus]]]:
    """Yields every model that the metrics tell of and that gRPC knows, with its versions.

    Args:
        settings: The server, and how it is reached.

    Raises:
        InputError: If the metrics cannot be read.
        ServingError: If the server does not answer.
    """
    metrics, names = _model_names(settings)
    served = 0
    for name in names:
        try:
            with open_client(settings, name) as client:
                states = client.status()
                served += 1
                yield client, states
        except ServingError as error:
            if error.code is not grpc.StatusCode.NOT_FOUND:
                raise
            text = f"{name!r} is in the metrics, but no model is served under this name now."
            print(f"client: {text}", file=sys.stderr)
    if not served:
        text = f"the metrics at {metrics} tell of no model that {settings.address} serves."
        print(f"client: {text}", file=sys.stderr)


def _model_names(settings: ConnectionSettings) -> tuple[str, list[str]]:
    """Returns where the metrics are, and the names of models in them."""
    try:
        check_address(settings.address)
    except ValueError as error:
        raise InputError(str(error)) from error
    if not settings.rest and not settings.address.endswith(":8500"):
        raise InputError(
            "`model` is required, or `rest=HOST:PORT`: TF-Serving lists no models by gRPC, but the "
            "metrics at its REST port tell of them."
        )
    rest = settings.rest or f"{settings.address.rpartition('/')[2].removesuffix(':8500')}:8501"
    client = open_rest_client(settings, rest)
    try:
        names = client.model_names()
    except ServingError as error:
        why = str(error).rstrip(".")
        raise InputError(
            "`model` is required here: TF-Serving lists no models by gRPC, and its metrics, which "
            f"tell of them, cannot be read: {why}. Give `rest=HOST:PORT`, the REST port of a "
            "server with --monitoring_config_file; or take the name from the server's "
            "--model_config_file (name: ...) or its --model_name, and give it by `model`."
        ) from error
    return client.url, names
