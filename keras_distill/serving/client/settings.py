"""Arguments that the blocking and the asynchronous client share."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from keras_distill.serving.client.arguments import (
    check_integer,
    check_seconds,
    checked_metadata,
)
from keras_distill.serving.client.channel import Tls, callables, credentials, open_channel
from keras_distill.serving.client.exchange import Exchange
from keras_distill.serving.client.image_items import list_items
from keras_distill.serving.client.model_contract import ServedModel, connect
from keras_distill.serving.client.model_reference import ModelReference
from keras_distill.serving.client.output_contract import EMBEDDING
from keras_distill.serving.client.prediction_work import EmbeddingWork, PredictionWork, Progress

# Below the 4 MiB that a server of gRPC accepts unless told otherwise, with room for the rest of the
# message.
_MOST_BYTES = 4 * 2**20 - 2**16


class ClientSettings:
    """The arguments of both clients, which `EmbeddingClient` explains, and their channel."""

    _api: ClassVar[Any]  # grpc or grpc.aio

    def __init__(
        self,
        address: str,
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        dim: int | None = None,
        timeout: float = 30.0,
        batch_size: int = 32,
        in_flight: int = 4,
        most_bytes: int = _MOST_BYTES,
        tls: Tls | None = None,
        metadata: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    ):
        self.reference = ModelReference(address, model, version, label)
        check_seconds("timeout", timeout)
        check_integer("dim", dim, optional=True)
        check_integer("batch_size", batch_size)
        check_integer("in_flight", in_flight)
        check_integer("most_bytes", most_bytes)
        self.timeout = timeout
        self._dim = dim
        self._batch_size = batch_size
        self._in_flight = in_flight
        self._most_bytes = most_bytes
        self._credentials = None if tls is None else credentials(tls)
        self._metadata = checked_metadata(metadata)
        self._opening = threading.Lock()
        self._model: ServedModel | None = None
        self._channel: Any = None
        self._callables: dict[str, Any] = {}

    @property
    def _methods(self) -> dict[str, Any]:
        with self._opening:
            if self._channel is None:
                # At first use: an asynchronous channel belongs to the loop that runs then.
                self._channel = open_channel(self._api, self.reference.server, self._credentials)
                self._callables = callables(self._channel)
        return self._callables

    def _connecting(self) -> Exchange[ServedModel]:
        return connect(self.reference, self._dim, self.timeout)

    def _embedding(
        self, model: ServedModel, items: Any, on_error: str, progress: Progress | None
    ) -> EmbeddingWork:
        _check_on_error(on_error)
        return EmbeddingWork(
            self.reference,
            model,
            list_items(items),
            model.rows([EMBEDDING]),
            progress=progress,
            **self._sizes(),
        )

    def _prediction(
        self,
        model: ServedModel,
        items: Any,
        outputs: Sequence[str] | None,
        on_error: str,
        progress: Progress | None,
    ) -> PredictionWork:
        _check_on_error(on_error)
        if isinstance(outputs, str):
            raise TypeError(f"outputs={outputs!r} is of type str; give a list of names.")
        if outputs is not None and not outputs:
            raise ValueError(f"outputs={outputs!r} is empty; give names, or None for all.")
        return PredictionWork(
            self.reference,
            model,
            list_items(items),
            model.rows(outputs),
            progress=progress,
            **self._sizes(),
        )

    def _sizes(self) -> dict[str, Any]:
        return {
            "batch_size": self._batch_size,
            "most_bytes": self._most_bytes,
            "timeout": self.timeout,
        }


def _check_on_error(on_error: str) -> None:
    if on_error not in ("raise", "return"):
        raise ValueError(f"on_error={on_error!r} must be 'raise' or 'return'.")
