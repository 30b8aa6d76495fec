import os
import signal
import threading

import pytest

from keras_distill.training.stop_signals import StopSignals, TrainingInterrupted


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_noted_and_the_second_acts(number, capfd):
    former = signal.signal(number, signal.default_int_handler)
    try:
        with StopSignals() as signals:
            assert signals.received is None
            os.kill(os.getpid(), number)
            assert signals.received == number
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
        assert signal.getsignal(number) == signal.default_int_handler
    finally:
        signal.signal(number, former)
    assert capfd.readouterr().err == "\nStopping after this step; once more stops at once.\n"


def test_handlers_are_as_before_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TrainingInterrupted, match="SIGTERM after step 3"), StopSignals() as signals:
        raise TrainingInterrupted(signal.SIGTERM, 3)
    assert signals.received is None
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_ignored_signal_stays_ignored():
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGINT)
            assert signals.received is None
    finally:
        signal.signal(signal.SIGINT, former)


def test_another_thread_changes_no_handler():
    seen = []

    def look():
        with StopSignals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
