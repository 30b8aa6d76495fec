"""TLS credentials of the server."""

import ssl
from pathlib import Path

import grpc

from keras_distill.errors import InputError


def tls_credentials(certificate: str, key: str, client_ca: str) -> grpc.ServerCredentials | None:
    """Reads the files of TLS, all in PEM format.

    Args:
        certificate: File of the server's certificate; empty for no TLS.
        key: File of its private key.
        client_ca: File of the authorities that may sign clients' certificates, which are then
            required; empty for none.

    Returns:
        The credentials; `None` for no TLS.

    Raises:
        InputError: If a file is missing or holds something else.
    """
    if not (certificate or key or client_ca):
        return None
    if not (certificate and key):
        raise InputError("TLS needs both `certificate` and `key`.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # gRPC would only say that it could not bind.
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"`certificate={certificate}` and `key={key}` are no pair of PEM files: {error}"
        ) from error
    try:
        authority = Path(client_ca).read_bytes() if client_ca else None
        if authority is not None:
            context.load_verify_locations(client_ca)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"`client_ca={client_ca}` is no PEM file: {error}") from error
    pair = (Path(key).read_bytes(), Path(certificate).read_bytes())
    return grpc.ssl_server_credentials([pair], authority, authority is not None)
