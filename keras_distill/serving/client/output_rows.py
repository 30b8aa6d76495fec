"""Outputs of a served model as one row of numbers for each image."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from keras_distill.serving.client.client import EmbeddingClient
from keras_distill.serving.client.embed_result import EmbedResult
from keras_distill.serving.client.errors import ServingError
from keras_distill.serving.client.predict_result import PredictResult


class OutputRows:
    """Sends files to a model and returns all values of its outputs side by side.

    Args:
        client: Client of the model.
        outputs: Names of the outputs; `None` for all.

    Raises:
        ServingError: If the server does not answer, or the model has no such output.
    """

    def __init__(self, client: EmbeddingClient, outputs: Sequence[str] | None):
        self.reference = client.reference
        self.model = client.connect()
        self.shapes = self.model.rows(outputs)
        self.width = sum(map(math.prod, self.shapes.values()))
        self._client = client

    def request(
        self, paths: Sequence[Path], progress: Callable[[int, int | None], object] | None = None
    ) -> EmbedResult:
        """Returns the rows, as `vectors`, in the order of the files.

        Raises:
            ServingError: As `EmbeddingClient.predict`; its `result` has rows, too.
        """
        try:
            result = self._client.predict(
                list(paths), outputs=list(self.shapes), on_error="return", progress=progress
            )
        except ServingError as error:
            if isinstance(error.result, PredictResult):
                error.result = self._joined(error.result)
            raise
        return self._joined(result)

    def split(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the outputs by name, of rows `(n, width)`."""
        ends = np.cumsum([math.prod(shape) for shape in self.shapes.values()])
        parts = np.split(rows, ends[:-1], axis=1)
        return {
            name: part.reshape(len(rows), *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def _joined(self, result: PredictResult) -> EmbedResult:
        parts = [
            result.outputs[name].reshape(result.count, math.prod(shape))
            for name, shape in self.shapes.items()
        ]
        rows = np.concatenate(parts, axis=1)
        return EmbedResult(rows, result.errors, result.version, result.missing)
