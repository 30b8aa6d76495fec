"""Refusal of a request: a status other than OK."""

import grpc


class Refusal(Exception):
    """Answer to a request instead of a result.

    Args:
        code: Status of gRPC; `rest.py` maps it to a status of HTTP.
        message: Message to the client.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> Refusal:
    """Returns the refusal of a request that no server could answer: INVALID_ARGUMENT."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, message)
