"""Stop signals, noted until the end of a training step."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class TrainingInterrupted(RuntimeError):
    """A training was stopped by a signal, after a checkpoint.

    Attributes:
        signal: The signal.
        step: Steps that were made.
    """

    def __init__(self, signal: signal.Signals, step: int):
        super().__init__(f"{signal.name} after step {step}")
        self.signal = signal
        self.step = step


class StopSignals:
    """Within `with`, notes the first SIGTERM or SIGINT; the next one acts as usual.

    A signal that is ignored stays ignored, and outside the main thread nothing is changed.

    Attributes:
        received: The signal, or `None`.

    Example:
        >>> with StopSignals() as signals:
        ...     signals.received is None
        True
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._former:
            signal.signal(*self._former.popitem())

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self.__exit__(None, None, None)
        # Not print: the signal may have come in the middle of one.
        os.write(2, b"\nStopping after this step; once more stops at once.\n")
