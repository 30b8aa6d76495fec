import grpc
import pytest

from keras_distill.serving.client import exchange
from keras_distill.serving.client.exchange import Call, Pause, call

CODES = grpc.StatusCode


class Failure(grpc.RpcError):
    def __init__(self, code, details="", seconds=0.0):
        self._code, self._details, self.seconds = code, details, seconds

    def code(self):
        return self._code

    def details(self):
        return self._details


@pytest.fixture
def clock(monkeypatch):
    """A clock that nothing but the test moves."""
    now = [100.0]
    monkeypatch.setattr(exchange.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def perform(clock):
    """Performs a call whose answers are given, by that clock."""
    now = clock

    def run(answers, timeout=30.0):
        steps, answers = [], iter(answers)
        conversation = call("Predict", "request", timeout)
        step = next(conversation)
        while True:
            steps.append(step)
            try:
                if isinstance(step, Pause):
                    now[0] += step.seconds
                    step = conversation.send(None)
                    continue
                answer = next(answers)
                if isinstance(answer, Failure):
                    now[0] += answer.seconds
                    step = conversation.throw(answer)
                else:
                    step = conversation.send(answer)
            except StopIteration as end:
                return steps, end.value
            except grpc.RpcError as error:
                return steps, error

    return run


def test_an_answer_needs_one_call(perform):
    assert perform(["answer"], timeout=7) == ([Call("Predict", "request", 7)], "answer")


def test_pauses_double_with_jitter_up_to_five_seconds(perform):
    steps, answer = perform([Failure(CODES.UNAVAILABLE)] * 9 + ["answer"], timeout=60)
    assert answer == "answer"
    pauses = [step.seconds for step in steps if isinstance(step, Pause)]
    whole = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert all(full / 2 <= pause <= full for pause, full in zip(pauses, whole, strict=True))
    assert len({pause / full for pause, full in zip(pauses, whole, strict=True)}) > 1


def test_calls_and_pauses_share_the_time(perform):
    failures = [Failure(CODES.RESOURCE_EXHAUSTED, seconds=2.0)] * 100
    steps, error = perform(failures, timeout=10)
    assert error.code() is CODES.RESOURCE_EXHAUSTED
    calls = [step.timeout for step in steps if isinstance(step, Call)]
    pauses = [step.seconds for step in steps if isinstance(step, Pause)]
    assert calls[0] == 10
    for left, pause, rest in zip(calls, pauses, calls[1:], strict=False):
        assert rest == pytest.approx(left - 2 - pause)
    assert isinstance(steps[-1], Call)  # no pause beyond the end
    assert len(calls) <= 5


@pytest.mark.parametrize("timeout", [0.5, 2.0, 10.0, 30.0])
@pytest.mark.parametrize("seconds", [0.0, 0.004])
def test_calls_are_repeated_until_the_time_is_up(perform, clock, timeout, seconds):
    begun = clock[0]
    steps, error = perform([Failure(CODES.UNAVAILABLE, seconds=seconds)] * 100, timeout=timeout)
    assert error.code() is CODES.UNAVAILABLE
    assert timeout - 0.1 <= clock[0] - begun <= timeout
    calls = [step.timeout for step in steps if isinstance(step, Call)]
    # As many near the end as at the beginning, not a storm.
    assert 1 <= sum(left < timeout / 2 for left in calls) <= 12
    assert min(calls) > 0


@pytest.mark.parametrize("code", sorted(set(CODES) - {CODES.UNAVAILABLE}, key=str))
def test_nothing_else_is_retried(perform, code):
    too_large = "SERVER: Received message larger than max (9 vs. 4)"
    failure = Failure(code, too_large)
    steps, error = perform([failure, "answer"])
    assert error is failure
    assert len(steps) == 1


def test_a_last_call_without_time_does_not_hide_what_is_wrong(perform):
    """However little is left of the time, what was wrong before is what is told."""
    down, late = Failure(CODES.UNAVAILABLE, "down"), Failure(CODES.DEADLINE_EXCEEDED)
    for left, told in ((0.5, CODES.UNAVAILABLE), (25.0, CODES.DEADLINE_EXCEEDED)):
        steps, error = perform([down, late], timeout=left)
        assert error.code() is told
        assert sum(isinstance(step, Call) for step in steps) == 2
    steps, error = perform([late], timeout=0.5)
    assert (len(steps), error.code()) == (1, CODES.DEADLINE_EXCEEDED)
