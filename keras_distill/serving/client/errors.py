"""What the client raises."""

import grpc

from keras_distill.serving.client.embed_result import EmbedResult


class ServingError(Exception):
    """The server could not be reached in time, or refused the request as a whole.

    Attributes:
        code: Status of gRPC, such as `grpc.StatusCode.NOT_FOUND`; `None` if the client itself found
            the fault.
        result: What `embed` had received before, so that nothing is embedded twice; its `missing`
            has the places of the images to embed again. `None` where no images were sent.
    """

    def __init__(self, message: str, code: grpc.StatusCode | None = None):
        super().__init__(message)
        self.code = code
        self.result: EmbedResult | None = None

    def __str__(self) -> str:
        text = super().__str__()
        if self.result is None or not self.result.missing:
            return text
        done, count = self.result.done, len(self.result.vectors)
        return (
            f"{text} {done} of {count} images were embedded before; this error's `result` has them."
        )


class ModelMismatch(ServingError):
    """The model, or an answer of it, is not what an exported embedder has to be."""


class ImagesRefused(ServingError):
    """Some images could not be embedded.

    Attributes:
        result: The embeddings of all others, and the errors.
    """

    result: EmbedResult

    def __init__(self, result: EmbedResult):
        first = ", ".join(map(str, result.errors[:3]))
        more = ", ..." if len(result.errors) > 3 else ""
        super().__init__(
            f"{len(result.errors)} of {len(result.vectors)} images have no embedding: {first}"
            f"{more}. The others are in this error's `result`; on_error='return' returns both."
        )
        self.result = result
