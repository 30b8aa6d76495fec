"""Embeddings of the images that the client was given."""

from dataclasses import dataclass

import numpy as np


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
        vectors: float32 `(n, dim)`, in the order of the images; NaN for those in `errors` and in
            `missing`.
        errors: The images that could not be embedded, by their places.
        version: Version of the model that gave all of the embeddings.
        missing: The places of the images that were not embedded because a request failed before;
            empty unless the result comes with a `ServingError`. Of images from a generator, those
            that were not read yet have no place.
    """

    vectors: np.ndarray
    errors: tuple[ImageError, ...]
    version: int
    missing: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """How many images there are."""
        return len(self.vectors)

    @property
    def done(self) -> int:
        """How many images have an embedding."""
        return self.count - len(self.errors) - len(self.missing)
