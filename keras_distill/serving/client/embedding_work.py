"""Embedding many images: requests out, vectors in, whatever sends them."""

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import grpc
import numpy as np

from keras_distill.serving.client.embed_result import EmbedResult, ImageError
from keras_distill.serving.client.errors import ImagesRefused, ModelMismatch, ServingError
from keras_distill.serving.client.exchange import Exchange, call, too_large
from keras_distill.serving.client.image_items import ImageItem, read_items
from keras_distill.serving.client.model_contract import OUTPUT, ServedModel
from keras_distill.serving.client.model_reference import ModelReference, first_line
from keras_distill.serving.client.predict_bytes import predict_bytes
from keras_distill.serving.client.request_batches import batches
from keras_distill.serving.client.tensors import decode_float

Progress = Callable[[int, int | None], object]


class EmbeddingWork:
    """The requests that embed some images, and the answers to them.

    Args:
        reference: The model.
        model: What the server says of it.
        items: The images, one by one.
        batch_size: Most images in a request.
        most_bytes: Most bytes of images in a request.
        timeout: Seconds for one request, with its retries.
        on_error: What `result` does about images without embedding, as `EmbeddingClient.embed`.
        progress: Called with the number of images done and of all, `None` if that is not known.
    """

    def __init__(
        self,
        reference: ModelReference,
        model: ServedModel,
        items: Iterable[Any],
        *,
        batch_size: int,
        most_bytes: int,
        timeout: float,
        on_error: str,
        progress: Progress | None,
    ):
        self._reference = reference
        self._model = model
        self._items = items
        self._batch_size = batch_size
        self._most_bytes = most_bytes
        self._timeout = timeout
        self._on_error = on_error
        self._progress = progress
        self._total = len(items) if isinstance(items, Sized) else None
        self._read = self._done = 0
        self._version: int | None = None
        self._vectors: list[tuple[list[int], np.ndarray]] = []
        self._errors: list[ImageError] = []

    def exchanges(self) -> Iterator[Exchange[None]]:
        """Yields a conversation for each batch; they may run at once, and end in any order."""
        images = read_items(self._items, self._model.image_shape)
        for batch in batches(
            self._counted(images), size=self._batch_size, most_bytes=self._most_bytes
        ):
            yield self._embed(batch)

    def result(self) -> Any:
        """Returns what `EmbeddingClient.embed` does, once every conversation has ended."""
        result = self._result(self._read)
        if self._on_error == "return":
            return result
        if result.errors:
            raise ImagesRefused(result)
        return result.vectors

    def keep_for(self, error: ServingError) -> None:
        """Gives an error that ends the work what was received before, and what is missing."""
        error.result = self._result(self._read if self._total is None else self._total)

    def _counted(self, images: Iterable[ImageItem]) -> Iterator[ImageItem]:
        for image in images:
            self._read = image.index + 1
            yield image

    def _result(self, count: int) -> EmbedResult:
        vectors = np.full((count, self._model.dim), np.nan, np.float32)
        missing = np.ones(count, bool)
        for indices, rows in self._vectors:
            vectors[indices] = rows
            missing[indices] = False
        errors = sorted(self._errors, key=lambda error: error.index)
        missing[[error.index for error in errors]] = False
        return EmbedResult(
            vectors,
            tuple(errors),
            self._version or self._model.version,
            tuple(np.flatnonzero(missing).tolist()),
        )

    def _embed(self, batch: list[ImageItem]) -> Exchange[None]:
        """Embeds a batch; if the server refuses it, halves it until the bad images are alone."""
        parts = [batch] if batch[0].signature else []
        if not parts:
            self._errors += [ImageError(image.index, image.source, image.fault) for image in batch]
        while parts:
            part = parts.pop()
            spec = self._reference.spec(part[0].signature)
            request = predict_bytes(spec, [image.data for image in part])
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
                "their embeddings do not compare. Embed again, or ask for one version."
            )
        self._version = version
        try:
            if OUTPUT not in response.outputs:
                raise ValueError(f"no output {OUTPUT!r}")
            rows = decode_float(response.outputs[OUTPUT], (len(images), self._model.dim))
        except ValueError as error:
            raise ModelMismatch(
                f"{self._reference} answered {error}. It is version {version}; version "
                f"{self._model.version} was there at the start. Make a new client."
            ) from error
        finite = np.isfinite(rows).all(axis=1)
        for image, good in zip(images, finite, strict=True):
            if not good:
                self._refuse(image, "the model's embedding is not finite")
        self._vectors.append(
            (
                [image.index for image, good in zip(images, finite, strict=True) if good],
                rows[finite],
            )
        )

    def _refuse(self, image: ImageItem, message: str) -> None:
        self._errors.append(ImageError(image.index, image.source, message))
