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
    states: list[VersionStatus] | None = None
    failure = ""
    while True:
        left = max(end - time.monotonic(), 0.0)
        try:
            states = _states((yield Call("GetModelStatus", request, min(timeout, left))))
            failure = ""
        except grpc.RpcError as error:
            if error.code() not in _PASSING:
                raise reference.failure(error) from error
            if error.code() is grpc.StatusCode.NOT_FOUND:
                states = None
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED or left >= timeout:
                failure = reason(error)
            # Else the last call had no time to be answered; what was said before tells more.
        if not failure and states:
            available = [state for state in states if state.state == "AVAILABLE"]
            if available:
                return available[0]
            if reference.version is not None and [state.state for state in states] == ["END"]:
                raise ServingError(f"{reference} will not be available: {states[0]}.")
        if (left := end - time.monotonic()) < _LEAST_SECONDS:
            seen = _seen(states, failure)
            raise ServingError(f"{reference} was not available within {limit:g} s: {seen}")
        yield Pause(min(_INTERVAL, left / 2))


def _seen(states: list[VersionStatus] | None, failure: str) -> str:
    """Says what the server answered last, and what calls failed with since then."""
    if states is None:
        return failure or "it has not answered."
    last = ", ".join(map(str, states)) or "no version"
    return f"{last}; then {failure}" if failure else f"{last}."


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
