"""Conversations with a server, without the input and output.

A conversation is a generator: it yields a `Call` or a `Pause`, is sent the answer or thrown the
`grpc.RpcError`, and returns its result. The blocking and the asynchronous client perform the same
conversations, each in its own way.
"""

import random
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

Result = TypeVar("Result")
RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
# A call with less time than this says little about the server if its time runs out.
_FAIR_SECONDS = 1.0
# Of the time that is left, no more than this is let pass; the rest is for the calls that follow.
_LARGEST_SHARE = 0.75
# With less time than this, no call is worth making.
_LEAST_SECONDS = 0.1


@dataclass(frozen=True)
class Call:
    """A remote procedure to call.

    Attributes:
        method: Its name in `messages.METHODS`.
        request: The message to send, or its bytes.
        timeout: Seconds until it fails with DEADLINE_EXCEEDED.
    """

    method: str
    request: Any
    timeout: float


@dataclass(frozen=True)
class Pause:
    """A time to let pass, in seconds."""

    seconds: float


Exchange = Generator[Call | Pause, Any, Result]


def call(method: str, request: Any, timeout: float) -> Exchange[Any]:
    """Calls a procedure, again after a pause while the server is unavailable or exhausted.

    Pauses double from 0.1 s to 5 s, and shrink again towards the end, so that a server which comes
    back late is still found; each is shortened at random by up to a half, so that clients which
    failed together do not come back together.

    Args:
        method: Its name in `messages.METHODS`.
        request: The message to send, or its bytes.
        timeout: Seconds for everything: calls and pauses.

    Returns:
        The answer.

    Raises:
        grpc.RpcError: What the last call failed with; or the one before, if the time that was left
            for the last was too short. Unless another call cannot help, the time is up then.
    """
    end = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    before: grpc.RpcError | None = None
    while True:
        left = max(end - time.monotonic(), 0.0)
        try:
            return (yield Call(method, request, left))
        except grpc.RpcError as error:
            ran_out = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            if before is not None and ran_out and left < _FAIR_SECONDS:
                raise before from error
            before = error
            left = end - time.monotonic()
            if error.code() not in RETRIED or too_large(error) or left < _LEAST_SECONDS:
                raise
        yield Pause(min(pause, _LARGEST_SHARE * left) * random.uniform(0.5, 1.0))
        pause = min(2 * pause, _LONGEST_PAUSE)


def too_large(error: grpc.RpcError) -> bool:
    """Whether a call failed because its message exceeds a limit, which no retry helps."""
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and "message larger than max" in (
        error.details() or ""
    )
