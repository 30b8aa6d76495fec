"""What came of the images that the client was given."""

from dataclasses import dataclass

import numpy as np

from keras_distill.serving.client_errors import ServingError


@dataclass(frozen=True)
class ImageError:
    """An image that has no embedding.

    Attributes:
        index: Its place among all images.
        source: Its path, or `item 3`.
        message: Why: it could not be read, or what the server said.
    """

    index: int
    source: str
    message: str

    def __str__(self) -> str:
        return f"{self.source}: {self.message}"


@dataclass(frozen=True, eq=False)
class EmbedResult:
    """Embeddings, and the images that have none.

    Attributes:
        vectors: float32 `(n, dim)`, in the order of the images; NaN for those in `errors`.
        errors: The images that could not be embedded, by their places.
        version: Version of the model that gave all of the embeddings.
    """

    vectors: np.ndarray
    errors: tuple[ImageError, ...]
    version: int


class ImagesRefused(ServingError):
    """Some images could not be embedded.

    Attributes:
        result: The embeddings of all others, and the errors.
    """

    def __init__(self, result: EmbedResult):
        first = ", ".join(map(str, result.errors[:3]))
        more = ", ..." if len(result.errors) > 3 else ""
        super().__init__(
            f"{len(result.errors)} of {len(result.vectors)} images have no embedding: {first}"
            f"{more}. The others are in this error's `result`; on_error='return' returns both."
        )
        self.result = result
