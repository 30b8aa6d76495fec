"""What the client raises."""

import grpc


class ServingError(Exception):
    """The server could not be reached in time, or refused the request as a whole.

    Attributes:
        code: Status of gRPC, such as `grpc.StatusCode.NOT_FOUND`; `None` if the client itself found
            the fault.
    """

    def __init__(self, message: str, code: grpc.StatusCode | None = None):
        super().__init__(message)
        self.code = code


class ModelMismatch(ServingError):
    """The model, or an answer of it, is not what an exported embedder has to be."""
