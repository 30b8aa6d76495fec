"""Shared secret that callers must send."""

import hmac
from collections.abc import Callable
from typing import Any

import grpc

HEADER = "authorization"
REFUSED = "Give the server's secret: a header authorization: Bearer SECRET."
# Load balancers and Kubernetes check the health, and cannot keep a secret.
_OPEN = "/grpc.health.v1.Health/"


def knows(secret: bytes, header: str | bytes | None) -> bool:
    """Whether a header holds the secret, compared in constant time.

    Args:
        secret: The secret.
        header: Value of the header `authorization`.

    Example:
        >>> knows(b"sesame", "Bearer sesame"), knows(b"sesame", "Bearer open"), knows(b"s", None)
        (True, False, False)
    """
    given = header.encode() if isinstance(header, str) else header or b""
    return hmac.compare_digest(given, b"Bearer " + secret)


class SecretInterceptor(grpc.ServerInterceptor):
    """Refuses calls without the secret before their message is read, except health checks.

    Args:
        secret: The secret.
    """

    def __init__(self, secret: bytes):
        self._secret = secret

        def refuse(_: Any, context: grpc.ServicerContext) -> None:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, REFUSED)

        # A handler of a single message would wait in its thread until that arrives.
        self._refusal = grpc.stream_unary_rpc_method_handler(refuse)

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        """Returns the handler of a call, or the one that refuses."""
        headers = dict(handler_call_details.invocation_metadata)
        if handler_call_details.method.startswith(_OPEN) or knows(
            self._secret, headers.get(HEADER)
        ):
            return continuation(handler_call_details)
        return self._refusal
