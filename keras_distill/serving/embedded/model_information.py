"""States and signatures of models, as messages."""

from typing import Any

import grpc
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from keras_distill.serving.embedded.models import Models
from keras_distill.serving.embedded.refusal import Refusal, invalid

SIGNATURES = "signature_def"


def model_status(models: Models, request: Any) -> get_model_status_pb2.GetModelStatusResponse:
    """Answers a `GetModelStatusRequest`: all versions, or the one that is named.

    Raises:
        Refusal: If there is no such model or version.
    """
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec = request.model_spec
    states = models.states(spec.name)
    if not states:
        message = f"Could not find any versions of model {spec.name}"
        raise Refusal(grpc.StatusCode.NOT_FOUND, message)
    if spec.HasField("version"):
        version = spec.version.value
        if version not in states:
            message = f"Could not find version {version} of model {spec.name}"
            raise Refusal(grpc.StatusCode.NOT_FOUND, message)
        states = {version: states[version]}
    response = get_model_status_pb2.GetModelStatusResponse()
    for version, state in sorted(states.items()):
        status = response.model_version_status.add(version=version)
        status.state = get_model_status_pb2.ModelVersionStatus.State.Value(state.state)
        status.status.error_code = state.code
        status.status.error_message = state.message
    return response


def model_metadata(models: Models, request: Any) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Answers a `GetModelMetadataRequest` with the signatures of a version.

    Raises:
        Refusal: If there is no such version, or another kind of metadata is requested.
    """
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    if not request.metadata_field:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != SIGNATURES:
            raise invalid(f"Metadata field {field} is not supported")
    servable = models.find(request.model_spec)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = servable.name
    response.model_spec.version.value = servable.version
    response.metadata[SIGNATURES].Pack(signature_map(servable.signatures))
    return response


def signature_map(signatures: dict[str, Any]) -> get_model_metadata_pb2.SignatureDefMap:
    """Returns SignatureDefs by name as a message."""
    signature_defs = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in signatures.items():
        signature_defs.signature_def[name].CopyFrom(signature)
    return signature_defs
