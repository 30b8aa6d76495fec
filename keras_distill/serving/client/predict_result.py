"""Answers of a model with any outputs, and the images that have none."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from keras_distill.serving.client.embed_result import ImageError


@dataclass(frozen=True, eq=False)
class PredictResult:
    """Outputs by name, and the images that have none.

    Attributes:
        outputs: By name, float32 `(n, ...)`, a row for each image in their order; NaN for those in
            `errors` and in `missing`.
        errors: The images that have no answer, by their places.
        version: Version of the model that gave all of the answers.
        missing: As of `EmbedResult`.
    """

    outputs: Mapping[str, np.ndarray]
    errors: tuple[ImageError, ...]
    version: int
    missing: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """How many images there are."""
        return len(next(iter(self.outputs.values())))

    @property
    def done(self) -> int:
        """How many images have an answer."""
        return self.count - len(self.errors) - len(self.missing)
