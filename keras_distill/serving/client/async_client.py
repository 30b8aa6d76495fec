"""The asynchronous client of a served model."""

import asyncio
import functools
from collections.abc import Sequence
from typing import Any, Literal, Self, overload

import grpc
import numpy as np

from keras_distill.serving.client.arguments import check_seconds
from keras_distill.serving.client.embed_result import EmbedResult
from keras_distill.serving.client.errors import ServingError
from keras_distill.serving.client.exchange import Exchange, Pause, Result
from keras_distill.serving.client.model_contract import ServedModel
from keras_distill.serving.client.model_status import VersionStatus, model_status, wait_available
from keras_distill.serving.client.predict_result import PredictResult
from keras_distill.serving.client.prediction_work import PredictionWork, Progress
from keras_distill.serving.client.settings import ClientSettings


class AsyncEmbeddingClient(ClientSettings):
    """`EmbeddingClient` for asyncio: the same arguments, results and errors.

    A client belongs to the event loop of its first call. Files, and generators of images, are read
    in a thread.

    Example:
        >>> async def embed(paths):
        ...     async with AsyncEmbeddingClient("localhost:8500", model="birds") as client:
        ...         return await client.embed(paths)
    """

    _api = grpc.aio

    async def connect(self) -> ServedModel:
        """As `EmbeddingClient.connect`."""
        if self._model is None:
            self._model = await self._run(self._connecting())
        return self._model

    @overload
    async def embed(
        self, items: Any, *, on_error: Literal["raise"] = "raise", progress: Progress | None = None
    ) -> np.ndarray: ...

    @overload
    async def embed(
        self, items: Any, *, on_error: Literal["return"], progress: Progress | None = None
    ) -> EmbedResult: ...

    async def embed(
        self,
        items: Any,
        *,
        on_error: Literal["raise", "return"] = "raise",
        progress: Progress | None = None,
    ) -> np.ndarray | EmbedResult:
        """As `EmbeddingClient.embed`."""
        work = self._embedding(await self.connect(), items, on_error, progress)
        await self._finish(work)
        result = work.result(refuse=on_error == "raise")
        return result if on_error == "return" else result.vectors

    @overload
    async def predict(
        self,
        items: Any,
        *,
        outputs: Sequence[str] | None = None,
        on_error: Literal["raise"] = "raise",
        progress: Progress | None = None,
    ) -> dict[str, np.ndarray]: ...

    @overload
    async def predict(
        self,
        items: Any,
        *,
        outputs: Sequence[str] | None = None,
        on_error: Literal["return"],
        progress: Progress | None = None,
    ) -> PredictResult: ...

    async def predict(
        self,
        items: Any,
        *,
        outputs: Sequence[str] | None = None,
        on_error: Literal["raise", "return"] = "raise",
        progress: Progress | None = None,
    ) -> dict[str, np.ndarray] | PredictResult:
        """As `EmbeddingClient.predict`."""
        work = self._prediction(await self.connect(), items, outputs, on_error, progress)
        await self._finish(work)
        result = work.result(refuse=on_error == "raise")
        return result if on_error == "return" else result.outputs

    async def status(self) -> list[VersionStatus]:
        """As `EmbeddingClient.status`."""
        return await self._run(model_status(self.reference, self.timeout))

    async def wait(self, limit: float = 60.0) -> VersionStatus:
        """As `EmbeddingClient.wait`."""
        check_seconds("limit", limit)
        return await self._run(wait_available(self.reference, self.timeout, limit))

    async def close(self) -> None:
        """Closes the connection."""
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _finish(self, work: PredictionWork) -> None:
        """Performs all conversations of some work, several at once."""
        left = work.exchanges()
        free = asyncio.Semaphore(self._in_flight)
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await free.acquire()
                    exchange = await asyncio.to_thread(next, left, None)
                    if exchange is None:
                        break
                    task = tasks.create_task(self._run(exchange))
                    task.add_done_callback(lambda _: free.release())
        except BaseExceptionGroup as failed:
            error = failed.exceptions[0]
            if isinstance(error, ServingError):
                work.keep_for(error)
            raise error  # noqa: B904  the group only wraps it; it has its own cause

    async def _run(self, exchange: Exchange[Result]) -> Result:
        proceed = functools.partial(exchange.send, None)
        while True:
            try:
                step = proceed()
            except StopIteration as end:
                return end.value
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                proceed = functools.partial(exchange.send, None)
                continue
            try:
                answer = await self._methods[step.method](
                    step.request, timeout=step.timeout, metadata=self._metadata
                )
            except grpc.RpcError as error:
                proceed = functools.partial(exchange.throw, error)
            else:
                proceed = functools.partial(exchange.send, answer)
