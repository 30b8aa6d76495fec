"""The blocking client of a served model."""

import functools
import itertools
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from queue import SimpleQueue
from typing import Any, Literal, Self, overload

import grpc
import numpy as np

from keras_distill.serving.client.arguments import check_seconds
from keras_distill.serving.client.embed_result import EmbedResult
from keras_distill.serving.client.errors import ServingError
from keras_distill.serving.client.exchange import Call, Exchange, Pause, Result
from keras_distill.serving.client.model_contract import ServedModel
from keras_distill.serving.client.model_status import VersionStatus, model_status, wait_available
from keras_distill.serving.client.predict_result import PredictResult
from keras_distill.serving.client.prediction_work import PredictionWork, Progress
from keras_distill.serving.client.settings import ClientSettings


class EmbeddingClient(ClientSettings):
    """Sends images to a model that TF-Serving serves, or `keras_distill.serve`.

    `embed` returns the output `embedding`, `predict` any outputs by name.

    Images go to the server in batches, several at once. Each call has a deadline; while the server
    is UNAVAILABLE or has its RESOURCE_EXHAUSTED, it is repeated after a pause. At its first call
    the client compares the model's signatures with those of an exported model. It may be used from
    several threads, and should be kept: a connection is opened once.

    Args:
        address: `host:port` of the server's gRPC port.
        model: Name of the model.
        version: Number of its version; by default the newest, whichever that is at each call.
        label: In its place, a label of a version, such as `stable`.
        dim: Width that the embeddings must have, such as that of your index; by default any.
        timeout: Seconds for one request, its retries included.
        batch_size: Most images in a request.
        in_flight: Most requests at once.
        most_bytes: Most bytes of images in a request; the default stays below the 4 MiB that
            servers of gRPC accept unless told otherwise. A larger image goes alone.
        tls: Encryption; by default none.
        metadata: Headers of each call, such as a shared secret.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If it has a value that cannot be used.

    Example:
        >>> with EmbeddingClient("localhost:8500", model="birds") as client:  # doctest: +SKIP
        ...     vectors = client.embed(["robin.jpg", "wren.png"])  # float32 (2, dim)
    """

    _api = grpc

    def connect(self) -> ServedModel:
        """Returns what the server says of the model, having checked its signatures.

        Raises:
            ModelMismatch: If it is not an exported model, or has not the width `dim`.
            ServingError: If the server does not answer, or does not have the model.
        """
        if self._model is None:
            self._model = self._run(self._connecting())
        return self._model

    @overload
    def embed(
        self, items: Any, *, on_error: Literal["raise"] = "raise", progress: Progress | None = None
    ) -> np.ndarray: ...

    @overload
    def embed(
        self, items: Any, *, on_error: Literal["return"], progress: Progress | None = None
    ) -> EmbedResult: ...

    def embed(
        self,
        items: Any,
        *,
        on_error: Literal["raise", "return"] = "raise",
        progress: Progress | None = None,
    ) -> np.ndarray | EmbedResult:
        """Embeds images, in their order.

        Args:
            items: Images, or one: paths of JPEG or PNG files, the bytes of such files, uint8 or
                float arrays `(height, width, 3)` from 0 to 255 in the model's size, mixed as you
                like; a list, a generator, an array `(n, height, width, 3)`; or a folder, whose
                images are taken in the order of their paths.
            on_error: What to do about images that cannot be read or that the server refuses, which
                never keep the others from being embedded. `raise` raises `ImagesRefused` at the
                end; `return` returns an `EmbedResult`.
            progress: Called with the number of images done, and of all, or `None` where that is
                not known.

        Returns:
            float32 `(n, dim)`; with `on_error="return"` an `EmbedResult` of them and the errors.

        Raises:
            ImagesRefused: If images have no embedding; it holds those of the others.
            ModelMismatch: If the model is not an embedder, or does not answer like one.
            ServingError: If a request fails for another reason than its images, or the server
                changed the model's version on the way. Its `result` holds what was received before,
                and in `missing` the places of the images to embed again.
        """
        work = self._embedding(self.connect(), items, on_error, progress)
        self._finish(work)
        result = work.result(refuse=on_error == "raise")
        return result if on_error == "return" else result.vectors

    @overload
    def predict(
        self,
        items: Any,
        *,
        outputs: Sequence[str] | None = None,
        on_error: Literal["raise"] = "raise",
        progress: Progress | None = None,
    ) -> dict[str, np.ndarray]: ...

    @overload
    def predict(
        self,
        items: Any,
        *,
        outputs: Sequence[str] | None = None,
        on_error: Literal["return"],
        progress: Progress | None = None,
    ) -> PredictResult: ...

    def predict(
        self,
        items: Any,
        *,
        outputs: Sequence[str] | None = None,
        on_error: Literal["raise", "return"] = "raise",
        progress: Progress | None = None,
    ) -> dict[str, np.ndarray] | PredictResult:
        """Returns the outputs of the model for images, in their order.

        Args:
            items: Images, as of `embed`.
            outputs: Names of the outputs to return, such as `["logits"]`; by default all.
            on_error: As of `embed`; `return` returns a `PredictResult`.
            progress: As of `embed`.

        Returns:
            float32 `(n, ...)` by name, a row for each image; with `on_error="return"` a
            `PredictResult` of them and the errors.

        Raises:
            ImagesRefused: If images have no answer; it holds those of the others.
            ModelMismatch: If the model has no such output, or answers with another shape.
            ServingError: As of `embed`.

        Example:
            >>> with EmbeddingClient("localhost:8500", model="crowd") as client:  # doctest: +SKIP
            ...     density = client.predict(["square.jpg"])["density"]  # float32 (1, h, w, 1)
        """
        work = self._prediction(self.connect(), items, outputs, on_error, progress)
        self._finish(work)
        result = work.result(refuse=on_error == "raise")
        return result if on_error == "return" else result.outputs

    def status(self) -> list[VersionStatus]:
        """Returns the states of the model's versions, newest first.

        Raises:
            ServingError: If the server does not answer, or does not know the model.
        """
        return self._run(model_status(self.reference, self.timeout))

    def wait(self, limit: float = 60.0) -> VersionStatus:
        """Waits until the model is AVAILABLE, and returns the newest version that is.

        Args:
            limit: Seconds until this fails.

        Raises:
            ServingError: If it is not in time, or the version that was asked for has ended.
        """
        check_seconds("limit", limit)
        return self._run(wait_available(self.reference, self.timeout, limit))

    def close(self) -> None:
        """Closes the connection."""
        if self._channel is not None:
            self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _finish(self, work: PredictionWork) -> None:
        """Performs all conversations of some work."""
        try:
            for _ in self._run_all(work.exchanges()):
                pass
        except ServingError as error:
            work.keep_for(error)
            raise

    def _run(self, exchange: Exchange[Result]) -> Result:
        """Performs one conversation; gRPC needs no thread for it then."""
        proceed = functools.partial(exchange.send, None)
        while True:
            try:
                step = proceed()
            except StopIteration as end:
                return end.value
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                proceed = functools.partial(exchange.send, None)
                continue
            try:
                answer = self._methods[step.method](
                    step.request, timeout=step.timeout, metadata=self._metadata
                )
            except grpc.RpcError as error:
                proceed = functools.partial(exchange.throw, error)
            else:
                proceed = functools.partial(exchange.send, answer)

    def _run_all(self, exchanges: Iterable[Exchange[Result]]) -> Iterator[Result]:
        """Performs conversations, several at once, and yields their results as they end.

        All of them go on in the calling thread, by the events that gRPC and timers put into a
        queue.
        """
        events: SimpleQueue[tuple[Exchange[Result], Any]] = SimpleQueue()
        waiting: dict[Exchange[Result], Any] = {}
        left = iter(exchanges)
        first = list(itertools.islice(left, 2))
        if len(first) == 1:
            yield self._run(first[0])
            return
        left = itertools.chain(first, left)
        try:
            while True:
                while len(waiting) < self._in_flight and (new := next(left, None)) is not None:
                    waiting[new] = None
                    events.put((new, None))
                if not waiting:
                    return
                exchange, call = events.get()
                waiting[exchange] = None
                try:
                    error = call and call.exception()
                    step = exchange.throw(error) if error else exchange.send(call and call.result())
                except StopIteration as end:
                    del waiting[exchange]
                    yield end.value
                else:
                    waiting[exchange] = self._start(step, exchange, events)
        finally:
            for begun in filter(None, waiting.values()):
                begun.cancel()

    def _start(self, step: Call | Pause, exchange: Exchange[Result], events: Any) -> Any:
        if isinstance(step, Pause):
            timer = threading.Timer(step.seconds, events.put, [(exchange, None)])
            timer.daemon = True
            timer.start()
            return timer
        call = self._methods[step.method].future(
            step.request, timeout=step.timeout, metadata=self._metadata
        )
        call.add_done_callback(lambda call: events.put((exchange, call)))
        return call
