"""The versions of a model and their states."""

import time
from dataclasses import dataclass

import grpc

from keras_distill.serving.client.errors import ServingError
from keras_distill.serving.client.exchange import Call, Exchange, Pause, call
from keras_distill.serving.client.messages import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    enum_name,
)
from keras_distill.serving.client.model_reference import ModelReference, reason

_INTERVAL = 0.5
_LEAST_SECONDS = 0.1  # with less time than this, no call is worth making
# What a server says that starts, is busy, or has not seen the model or the label yet.
_PASSING = (
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
)


@dataclass(frozen=True)
class VersionStatus:
    """The state of one version.

    Attributes:
        version: Its number.
        state: `START`, `LOADING`, `AVAILABLE`, `UNLOADING` or `END`.
        error: Why it could not be loaded; empty if nothing went wrong.
    """

    version: int
    state: str
    error: str = ""

    def __str__(self) -> str:
        return f"version {self.version} {self.state}" + (f" ({self.error})" if self.error else "")


def model_status(reference: ModelReference, timeout: float) -> Exchange[list[VersionStatus]]:
    """Asks for the states of a model's versions.

    Args:
        reference: The model; all of its versions if it names none.
        timeout: Seconds until this fails.

    Returns:
        The states, newest version first.

    Raises:
        ServingError: If the server does not answer, or does not know the model.
    """
    request = GetModelStatusRequest(model_spec=reference.spec())
    try:
        response = yield from call("GetModelStatus", request, timeout)
    except grpc.RpcError as error:
        raise reference.failure(error) from error
    return _states(response)


def wait_available(
    reference: ModelReference, timeout: float, limit: float
) -> Exchange[VersionStatus]:
    """Asks every half a second until a version is AVAILABLE.

    Args:
        reference: The model.
        timeout: Seconds for one call.
        limit: Seconds for everything.

    Returns:
        The newest version that is available.

    Raises:
        ServingError: If none is in time, or the one that `reference` names has ended.
    """
    request = GetModelStatusRequest(model_spec=reference.spec())
    end = time.monotonic() + limit
    last = missing = failure = ""
    while True:
        left = max(end - time.monotonic(), 0.0)
        states: list[VersionStatus] = []
        try:
            states = _states((yield Call("GetModelStatus", request, min(timeout, left))))
            last, missing, failure = ", ".join(map(str, states)) or "no version", "", ""
        except grpc.RpcError as error:
            if error.code() not in _PASSING:
                raise reference.failure(error) from error
            if error.code() is grpc.StatusCode.NOT_FOUND:
                missing, failure = reason(error), ""
            elif error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED or left >= timeout:
                failure = reason(error)
            # Else the last call had no time to be answered; what was said before tells more.
        available = [state for state in states if state.state == "AVAILABLE"]
        if available:
            return available[0]
        if reference.version is not None and [state.state for state in states] == ["END"]:
            raise ServingError(f"{reference} will not be available: {states[0]}.")
        if (left := end - time.monotonic()) < _LEAST_SECONDS:
            # The last that was seen of the model comes first, and what followed cannot hide it.
            seen = [text.rstrip(".") for text in (last, missing, failure) if text]
            told = "; then ".join(seen) or "it has not answered"
            raise ServingError(f"{reference} was not available within {limit:g} s: {told}.")
        yield Pause(min(_INTERVAL, left / 2))


def _states(response: GetModelStatusResponse) -> list[VersionStatus]:
    states = [
        VersionStatus(
            status.version,
            enum_name("ModelVersionStatus.State", status.state),
            _error(status.status.error_code, status.status.error_message),
        )
        for status in response.model_version_status
    ]
    return sorted(states, key=lambda state: -state.version)


def _error(code: int, message: str) -> str:
    return f"{enum_name('Code', code)}: {message}" if code else ""
