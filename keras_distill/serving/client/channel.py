"""gRPC channel of a client: its options, encryption and calls."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from keras_distill.serving.client.messages import METHODS

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A server that comes back is found within a second, not after up to 120.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_PEM = b"-----BEGIN "
_FREED_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Tls:
    """Encryption, with files in PEM format.

    Attributes:
        root_certificates: File of those who may sign the server's certificate; by default those
            that gRPC brings along.
        certificate: File of the client's certificate, if the server asks for one.
        key: File of its private key.
    """

    root_certificates: str | PathLike[str] | None = None
    certificate: str | PathLike[str] | None = None
    key: str | PathLike[str] | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files.

        Raises:
            TypeError: If one is given as something else than a path.
            ValueError: If a file cannot be read or is not PEM, or there is a certificate without a
                key.
        """
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client's certificate and its key go together; give both.")
        return grpc.ssl_channel_credentials(
            _content("root_certificates", self.root_certificates),
            _content("key", self.key),
            _content("certificate", self.certificate),
        )


def credentials(tls: Any) -> grpc.ChannelCredentials:
    """Reads the files of the argument `tls`.

    Raises:
        TypeError: If it is not a `Tls`.
        ValueError: As `Tls.credentials`.
    """
    if not isinstance(tls, Tls):
        raise TypeError(
            f"tls={tls!r} is of type {type(tls).__name__}; give keras_distill.Tls(), or "
            "Tls(root_certificates='ca.crt') for a certificate that was signed privately, or None "
            "for no encryption."
        )
    return tls.credentials()


def open_channel(api: Any, server: str, credentials: grpc.ChannelCredentials | None) -> Any:
    """Opens a channel without limits to the size of messages.

    Args:
        api: `grpc` or `grpc.aio`.
        server: Address.
        credentials: Those of TLS; `None` for plain text.

    Returns:
        The channel of that API.
    """
    # glibc gives a message's memory back, to fetch it again page by page for the next message,
    # unless a larger block has been freed before; that doubles what a message costs.
    np.empty(_FREED_BYTES, np.uint8)
    if credentials is None:
        return api.insecure_channel(server, _OPTIONS)
    return api.secure_channel(server, credentials, _OPTIONS)


def callables(channel: Any) -> dict[str, Any]:
    """Returns what calls the methods of TF-Serving over a channel, by name."""
    return {
        name: channel.unary_unary(
            method.path,
            request_serializer=_written,
            response_deserializer=method.response.FromString,
        )
        for name, method in METHODS.items()
    }


def _written(request: Any) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


def _content(name: str, file: str | PathLike[str] | None) -> bytes | None:
    if file is None:
        return None
    if not isinstance(file, str | PathLike):
        raise TypeError(f"{name} is of type {type(file).__name__}; give the path of a PEM file.")
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise ValueError(f"{name}={str(file)!r} cannot be read: {error.strerror}.") from error
    if _PEM not in content:
        raise ValueError(
            f"{name}={str(file)!r} is no PEM file: it has no line that begins with {_PEM.decode()}."
        )
    return content
