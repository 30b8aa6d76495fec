"""Clients made from the settings of a command."""

from keras_distill.errors import InputError
from keras_distill.serving.client.channel import Tls
from keras_distill.serving.client.client import EmbeddingClient
from keras_distill.serving.client.rest_client import RestClient
from keras_distill.settings.client import ConnectionSettings


def open_client(settings: ConnectionSettings, model: str) -> EmbeddingClient:
    """Returns the client of a model.

    Args:
        settings: The server, and how it is reached.
        model: Name of the model.

    Raises:
        InputError: If a setting cannot be used.
    """
    files = (settings.root_certificates, settings.certificate, settings.key)
    encrypted = settings.tls or any(files)
    try:
        return EmbeddingClient(
            settings.address,
            model=model,
            version=settings.version,
            label=settings.label or None,
            timeout=settings.timeout,
            batch_size=settings.batch_size,
            in_flight=settings.in_flight,
            tls=Tls(*(file or None for file in files)) if encrypted else None,
            metadata=settings.headers(),
        )
    except ValueError as error:
        raise InputError(str(error)) from error


def open_rest_client(settings: ConnectionSettings, address: str) -> RestClient:
    """Returns the client of a server's REST interface.

    Args:
        settings: How the server is reached.
        address: `host:port` of its REST port.

    Raises:
        InputError: If a setting cannot be used.
    """
    try:
        return RestClient(
            address,
            timeout=settings.timeout,
            metadata=settings.headers(),
            root_certificates=settings.root_certificates or None,
        )
    except ValueError as error:
        raise InputError(str(error)).renamed(address="rest") from error
