"""Stop signals shared by all processes of a training."""

import signal

from keras_distill.distribution.replicas import Replicas
from keras_distill.training.stop_signals import StopSignals


class SharedStopSignals:
    """The signals that any process of a training has received, known to all of them.

    Without it, a process that stops leaves the others waiting for its share of the next step. All
    processes must read `received` at the same points, as `ResumableCallbacks` does after each step.

    Args:
        own: The signals of this process.
        replicas: The replicas of the training.
    """

    def __init__(self, own: StopSignals, replicas: Replicas):
        self._own = own
        self._replicas = replicas

    @property
    def received(self) -> signal.Signals | None:
        """The signal, or `None`."""
        number = self._replicas.largest(self._own.received or 0)
        return signal.Signals(number) if number else None
