"""Waiting for a model, by a clock that only the test moves."""

import grpc
import pytest

from keras_distill.serving.client import model_status
from keras_distill.serving.client.errors import ServingError
from keras_distill.serving.client.exchange import Pause
from keras_distill.serving.client.messages import GetModelStatusResponse
from keras_distill.serving.client.model_reference import ModelReference
from keras_distill.serving.client.model_status import wait_available

CODES = grpc.StatusCode
MODEL = "model 'birds' at box:1"
LOADING, AVAILABLE = 20, 30


class Failure(grpc.RpcError):
    def __init__(self, code, details):
        self._code, self._details = code, details

    def code(self):
        return self._code

    def details(self):
        return self._details


UNSEEN = Failure(CODES.NOT_FOUND, "Could not find any versions of model birds")
LATE = Failure(CODES.DEADLINE_EXCEEDED, "Deadline Exceeded")
DOWN = Failure(CODES.UNAVAILABLE, "connection refused")


def states(state):
    response = GetModelStatusResponse()
    response.model_version_status.add(version=2, state=state)
    return response


@pytest.fixture
def wait(monkeypatch):
    """Waits ten seconds; each call is answered by the next answer, the last of them again."""
    now = [100.0]
    monkeypatch.setattr(model_status.time, "monotonic", lambda: now[0])

    def run(*answers, timeout=30):
        conversation = wait_available(ModelReference("box:1", "birds"), timeout, limit=10)
        step = next(conversation)
        answers = list(answers)
        calls = []
        try:
            while True:
                if isinstance(step, Pause):
                    assert step.seconds > 0
                    now[0] += step.seconds
                    step = conversation.send(None)
                    continue
                calls.append(step.timeout)
                answer = answers[0] if len(answers) == 1 else answers.pop(0)
                if answer is LATE:
                    now[0] += step.timeout
                if isinstance(answer, Failure):
                    step = conversation.throw(answer)
                else:
                    step = conversation.send(answer)
        except StopIteration as end:
            return end.value
        except ServingError as error:
            assert all(seconds > 0 for seconds in calls)
            assert 9.9 <= now[0] - 100 <= 10
            return str(error)

    return run


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([states(LOADING)], "version 2 LOADING."),
        ([states(LOADING), LATE], "version 2 LOADING."),
        (
            [states(LOADING), DOWN],
            "version 2 LOADING; then UNAVAILABLE: connection refused. Check that the server runs",
        ),
        ([states(LOADING), DOWN, LATE], "version 2 LOADING; then UNAVAILABLE: connection refused."),
        ([DOWN, LATE], "UNAVAILABLE: connection refused. Check that the server runs"),
        ([LATE], "it has not answered."),
        ([UNSEEN], "NOT_FOUND: Could not find any versions of model birds. Check"),
        (
            [states(LOADING), UNSEEN],
            "version 2 LOADING; then NOT_FOUND: Could not find any versions of model birds. Check",
        ),
        ([GetModelStatusResponse()], "no version."),
    ],
)
def test_what_was_seen_last_is_told(wait, answers, told):
    text = wait(*answers)
    assert text.startswith(f"{MODEL} was not available within 10 s: {told}")
    assert ".." not in text
    assert text.count(MODEL) == 1
    assert text.endswith(".")


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([states(LOADING), LATE], "version 2 LOADING; then DEADLINE_EXCEEDED: Deadline Exceeded."),
        (
            [states(LOADING), UNSEEN, LATE],
            "version 2 LOADING; then NOT_FOUND: Could not find any versions of model birds. Check",
        ),
        ([UNSEEN, LATE], "NOT_FOUND: Could not find any versions of model birds. Check"),
        ([LATE], "DEADLINE_EXCEEDED: Deadline Exceeded."),
    ],
)
def test_a_server_that_answers_no_more_does_not_hide_what_was_seen(wait, answers, told):
    text = wait(*answers, timeout=2)
    assert text.startswith(f"{MODEL} was not available within 10 s: {told}")
    assert "DEADLINE_EXCEEDED: Deadline Exceeded. Raise timeout" in text
    assert ".." not in text
    assert ".;" not in text


def test_a_model_is_found_in_the_last_second(wait):
    assert wait(*[states(LOADING)] * 20, states(AVAILABLE)).state == "AVAILABLE"
