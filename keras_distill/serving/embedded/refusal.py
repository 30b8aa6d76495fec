"""A request that is answered with a status other than OK."""

import grpc


class Refusal(Exception):
    """What a request is answered with instead of a result.

    Args:
        code: Status of gRPC; `rest.py` gives the one of HTTP that belongs to it.
        message: What the client is told.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> Refusal:
    """Returns the refusal of a request that no server could answer: INVALID_ARGUMENT."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, message)
