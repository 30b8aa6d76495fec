"""Answers for many images: requests out, outputs in, whatever sends them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any

import grpc
import numpy as np

from keras_distill.serving.client.embed_result import EmbedResult, ImageError
from keras_distill.serving.client.errors import ImagesRefused, ModelMismatch, ServingError
from keras_distill.serving.client.exchange import Exchange, call, too_large
from keras_distill.serving.client.image_items import ImageItem, read_items
from keras_distill.serving.client.model_contract import ServedModel
from keras_distill.serving.client.model_reference import ModelReference, first_line
from keras_distill.serving.client.output_contract import EMBEDDING
from keras_distill.serving.client.predict_bytes import predict_bytes
from keras_distill.serving.client.predict_result import PredictResult
from keras_distill.serving.client.request_batches import batches
from keras_distill.serving.client.tensors import decode_float

Progress = Callable[[int, int | None], object]


class PredictionWork:
    """The requests for the outputs of a model for some images, and the answers to them.

    Args:
        reference: The model.
        model: What the server says of it.
        items: The images, one by one.
        rows: The outputs to request, and the shape of a row of each.
        batch_size: Most images in a request.
        most_bytes: Most bytes of images in a request.
        timeout: Seconds for one request, with its retries.
        progress: Called with the number of images done and of all, `None` if that is not known.
    """

    _kind = "answers"

    def __init__(
        self,
        reference: ModelReference,
        model: ServedModel,
        items: Iterable[Any],
        rows: Mapping[str, tuple[int, ...]],
        *,
        batch_size: int,
        most_bytes: int,
        timeout: float,
        progress: Progress | None,
    ):
        self._reference = reference
        self._model = model
        self._items = items
        self._rows = dict(rows)
        self._batch_size = batch_size
        self._most_bytes = most_bytes
        self._timeout = timeout
        self._progress = progress
        self._total = len(items) if isinstance(items, Sized) else None
        self._read = self._done = 0
        self._version: int | None = None
        self._answers: list[tuple[list[int], dict[str, np.ndarray]]] = []
        self._errors: list[ImageError] = []

    def exchanges(self) -> Iterator[Exchange[None]]:
        """Yields a conversation for each batch; they may run at once, and end in any order."""
        images = read_items(self._items, self._model.image_shape)
        for batch in batches(
            self._counted(images), size=self._batch_size, most_bytes=self._most_bytes
        ):
            yield self._predict(batch)

    def result(self, *, refuse: bool) -> Any:
        """Returns the result, once every conversation has ended.

        Args:
            refuse: Whether images without an answer raise.

        Returns:
            What `EmbeddingClient.predict` returns for `on_error="return"`.

        Raises:
            ImagesRefused: If `refuse` and an image has no answer.
        """
        result = self._result(self._read)
        if refuse and result.errors:
            raise ImagesRefused(result)
        return result

    def keep_for(self, error: ServingError) -> None:
        """Gives an error that ends the work what was received before, and what is missing."""
        error.result = self._result(self._read if self._total is None else self._total)

    def _counted(self, images: Iterable[ImageItem]) -> Iterator[ImageItem]:
        for image in images:
            self._read = image.index + 1
            yield image

    def _result(self, count: int) -> Any:
        outputs = {
            name: np.full((count, *shape), np.nan, np.float32) for name, shape in self._rows.items()
        }
        missing = np.ones(count, bool)
        for indices, answer in self._answers:
            for name, rows in answer.items():
                outputs[name][indices] = rows
            missing[indices] = False
        errors = sorted(self._errors, key=lambda error: error.index)
        missing[[error.index for error in errors]] = False
        return PredictResult(
            outputs,
            tuple(errors),
            self._version or self._model.version,
            tuple(np.flatnonzero(missing).tolist()),
        )

    def _predict(self, batch: list[ImageItem]) -> Exchange[None]:
        """Requests the outputs for a batch; a refused one is halved until bad images are alone."""
        parts = [batch] if batch[0].signature else []
        if not parts:
            self._errors += [ImageError(image.index, image.source, image.fault) for image in batch]
        while parts:
            part = parts.pop()
            spec = self._reference.spec(part[0].signature)
            request = predict_bytes(spec, [image.data for image in part], list(self._rows))
            try:
                response = yield from call("Predict", request, self._timeout)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.INVALID_ARGUMENT and not too_large(error):
                    raise self._reference.failure(error) from error
                if len(part) > 1:
                    half = len(part) // 2
                    parts += [part[half:], part[:half]]
                else:
                    self._refuse(part[0], first_line(error))
            else:
                self._keep(part, response)
        self._done += len(batch)
        if self._progress:
            self._progress(self._done, self._total)

    def _keep(self, images: list[ImageItem], response: Any) -> None:
        version = response.model_spec.version.value
        if self._version not in (None, version):
            raise ServingError(
                f"{self._reference} changed from version {self._version} to {version} on the way; "
                f"their {self._kind} do not compare. Start again, or name one version."
            )
        self._version = version
        try:
            answer = {
                name: self._decoded(response, name, (len(images), *shape))
                for name, shape in self._rows.items()
            }
        except ValueError as error:
            raise ModelMismatch(
                f"{self._reference} answered {error}. It is version {version}; version "
                f"{self._model.version} was there at the start. Make a new client."
            ) from error
        good = np.ones(len(images), bool)
        for name, rows in answer.items():
            finite = np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
            for place in np.flatnonzero(good & ~finite):
                self._refuse(images[place], f"the model's {name} is not finite")
            good &= finite
        indices = [image.index for image, kept in zip(images, good, strict=True) if kept]
        self._answers.append((indices, {name: rows[good] for name, rows in answer.items()}))

    @staticmethod
    def _decoded(response: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in response.outputs:
            raise ValueError(f"no output {name!r}")
        return decode_float(response.outputs[name], shape)

    def _refuse(self, image: ImageItem, message: str) -> None:
        self._errors.append(ImageError(image.index, image.source, message))


class EmbeddingWork(PredictionWork):
    """As `PredictionWork`, for the output `embedding` alone, as an `EmbedResult`."""

    _kind = "embeddings"

    def _result(self, count: int) -> EmbedResult:
        result = super()._result(count)
        return EmbedResult(result.outputs[EMBEDDING], result.errors, result.version, result.missing)
