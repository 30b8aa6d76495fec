"""Handling of predictions, common to gRPC and REST."""

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
    """Admits, runs and counts predictions.

    Args:
        models: The models.
        admission: Admission of requests.
        metrics: Metrics that count them.
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
        """Runs a prediction.

        Args:
            model: Name of the model, for the metrics.
            entrypoint: `GRPC` or `REST`, for the metrics.
            predict: Computes the answer.
            check_deadline: Raises if the caller has given up.

        Returns:
            The answer.

        Raises:
            Refusal: If there is no answer, whatever the reason.
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
    """Returns the refusal that a client gets for an error; it hides unexpected errors.

    Args:
        error: The exception that was raised.

    Returns:
        The exception itself if it is a refusal; otherwise a general one, and the log has the rest.
    """
    if isinstance(error, Refusal):
        return error
    if isinstance(error, MemoryError):
        return Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "The server is out of memory.")
    _log.error("a request failed", exc_info=error)
    return Refusal(grpc.StatusCode.INTERNAL, "The server failed; its log says why.")
