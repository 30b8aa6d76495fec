"""Exceptions of the client."""

import grpc

from keras_distill.serving.client.embed_result import EmbedResult
from keras_distill.serving.client.predict_result import PredictResult


class ServingError(Exception):
    """The server could not be reached in time, or refused the request as a whole.

    Attributes:
        code: Status of gRPC, such as `grpc.StatusCode.NOT_FOUND`; `None` if the client itself found
            the fault.
        result: What `embed` or `predict` had received before, so that nothing is sent twice; its
            `missing` has the places of the images to send again. `None` where no images were sent.
    """

    def __init__(self, message: str, code: grpc.StatusCode | None = None):
        super().__init__(message)
        self.code = code
        self.result: EmbedResult | PredictResult | None = None

    def __str__(self) -> str:
        text = super().__str__()
        if self.result is None or not self.result.missing:
            return text
        done, count = self.result.done, self.result.count
        what = "embedded" if isinstance(self.result, EmbedResult) else "answered"
        return (
            f"{text} {done} of {count} images were {what} before; this error's `result` has them."
        )


class ModelMismatch(ServingError):
    """The model, or an answer of it, is not what an exported embedder has to be."""


class ImagesRefused(ServingError):
    """Some images could not be read, or were refused.

    Attributes:
        result: What `embed` or `predict` received for all others, and the errors.
    """

    result: EmbedResult | PredictResult

    def __init__(self, result: EmbedResult | PredictResult):
        first = ", ".join(map(str, result.errors[:3]))
        more = ", ..." if len(result.errors) > 3 else ""
        what = "embedding" if isinstance(result, EmbedResult) else "answer"
        super().__init__(
            f"{len(result.errors)} of {result.count} images have no {what}: {first}"
            f"{more}. The others are in this error's `result`; on_error='return' returns both."
        )
        self.result = result
