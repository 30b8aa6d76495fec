"""gRPC services, by the official stubs.

`model_service_pb2` of tensorflow-serving-api 2.20 was generated for an older protobuf and cannot be
imported with protobuf 7. Nothing here needs it: its messages come from `get_model_status_pb2` and
`model_management_pb2`, and `model_service_pb2_grpc` imports these alone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from keras_distill.errors import InputError
from keras_distill.serving.embedded.model_config import configured_models
from keras_distill.serving.embedded.model_information import model_metadata, model_status
from keras_distill.serving.embedded.models import Models
from keras_distill.serving.embedded.other_inference import multiple_refusal, single_refusal
from keras_distill.serving.embedded.predicting import Predicting, as_refusal
from keras_distill.serving.embedded.refusal import Refusal, invalid

# An error message is sent as a header of HTTP/2, whose length clients limit.
_LONGEST_MESSAGE = 4000


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; other calls are refused, as for any embedder.

    Args:
        predicting: Runs predictions.
    """

    def __init__(self, predicting: Predicting):
        self._predicting = predicting
        self._models = predicting.models

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Runs a signature."""
        spec = request.model_spec

        def check_deadline() -> None:
            # Not active: the caller has given up, by its own clock or otherwise.
            if not context.is_active() or context.time_remaining() == 0:
                message = "The deadline passed before the model was run."
                raise Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, message)

        def predict() -> Any:
            return self._models.find(spec).predict(request, check_deadline)

        return _answer(
            context, lambda: self._predicting.answer(spec.name, "GRPC", predict, check_deadline)
        )

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Returns the signatures of a version."""
        return _answer(context, lambda: model_metadata(self._models, request))

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Refuses."""
        return self._refuse(request.model_spec, context, "tensorflow/serving/classify")

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Refuses."""
        return self._refuse(request.model_spec, context, "tensorflow/serving/regress")

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Refuses."""

        def refuse() -> Any:
            if not request.tasks:
                raise invalid("ModelSpec has no name specified.")
            servable = self._models.find(request.tasks[0].model_spec)
            raise multiple_refusal(servable, request.tasks)

        return _answer(context, refuse)

    def _refuse(self, spec: Any, context: grpc.ServicerContext, method: str) -> Any:
        def refuse() -> Any:
            raise single_refusal(self._models.find(spec), spec.signature_name, method)

        return _answer(context, refuse)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """States of models, and reloading of the configuration.

    Args:
        models: The models.
        folder: Folder of all models, see `configured_models`.
    """

    def __init__(self, models: Models, folder: Path | None):
        self._models = models
        self._folder = folder

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Returns the states of a model's versions."""
        return _answer(context, lambda: model_status(self._models, request))

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Replaces the whole list of models; answers when everything is loaded."""
        return _answer(context, lambda: self._reload(request.config))

    def _reload(self, config: Any) -> Any:
        if not config.HasField("model_config_list"):
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        try:
            configs = configured_models(config, self._folder)
        except InputError as error:
            raise invalid(str(error)) from error
        self._models.refresh(lambda: configs)
        available = self._models.available()
        missing = [config.name for config in configs if not available[config.name]]
        if missing:
            names = ", ".join(missing)
            message = f"{len(missing)} servable(s) did not become available: {{{names}}}"
            raise Refusal(grpc.StatusCode.UNKNOWN, message)
        return model_management_pb2.ReloadConfigResponse(status={})


class Health(health.HealthServicer):
    """`grpc.health.v1`, of the server as a whole, with the message of TF-Serving."""

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        response = super().Check(request, context)
        if context.code() is grpc.StatusCode.NOT_FOUND:
            context.set_details("service name unknown")
        return response


def add_services(server: grpc.Server, predicting: Predicting, folder: Path | None) -> Health:
    """Adds all services to a server.

    Args:
        server: The server.
        predicting: Runs predictions.
        folder: Folder of all models, see `configured_models`.

    Returns:
        The health service, to be changed when the server starts and stops.
    """
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(predicting), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        ModelService(predicting.models, folder), server
    )
    status = Health()
    status.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    return status


def _answer(context: grpc.ServicerContext, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:
        refusal: Refusal = as_refusal(error)
    context.abort(refusal.code, refusal.message[:_LONGEST_MESSAGE])
