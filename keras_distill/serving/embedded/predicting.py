"""The way of a prediction, whichever interface it came by."""

import logging
from collections.abc import Callable
from typing import Any

import grpc

from keras_distill.serving.embedded.admission import Admission
from keras_distill.serving.embedded.metrics import Metrics
from keras_distill.serving.embedded.models import Models
from keras_distill.serving.embedded.refusal import Refusal

_log = logging.getLogger(__name__)


class Predicting:
    """Admits, finds, runs and counts.

    Args:
        models: The models.
        admission: Which requests may run.
        metrics: What is counted.
    """

    def __init__(self, models: Models, admission: Admission, metrics: Metrics):
        self.models = models
        self._admission = admission
        self._metrics = metrics

    def answer(
        self,
        model: str,
        entrypoint: str,
        predict: Callable[[], Any],
        check_deadline: Callable[[], None] = lambda: None,
    ) -> Any:
        """Lets a prediction run.

        Args:
            model: Name of the model, for the metrics.
            entrypoint: `GRPC` or `REST`, for the metrics.
            predict: Makes the answer.
            check_deadline: Raises if nobody waits for the answer any more.

        Returns:
            The answer.

        Raises:
            Refusal: If there is none, whatever the reason.
        """
        model = self.models.known(model)
        status = grpc.StatusCode.OK
        try:
            with self._metrics.timed(model, "Predict", entrypoint), self._admission.running():
                check_deadline()
                return predict()
        except Exception as error:
            refusal = as_refusal(error)
            status = refusal.code
            raise refusal from error
        finally:
            self._metrics.count_request(model, status.name)


def as_refusal(error: Exception) -> Refusal:
    """Returns what a client is told of an error: nothing of what was not foreseen.

    Args:
        error: What was raised.

    Returns:
        The error itself if it is a refusal; else another one, and the log has the rest.
    """
    if isinstance(error, Refusal):
        return error
    if isinstance(error, MemoryError):
        return Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "The server is out of memory.")
    _log.error("a request failed", exc_info=error)
    return Refusal(grpc.StatusCode.INTERNAL, "The server failed; its log says why.")
