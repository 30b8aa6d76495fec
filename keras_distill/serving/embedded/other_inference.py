"""Refusals of Classify, Regress and MultiInference, which embedders do not support."""

from typing import Any

import grpc
from google.protobuf import text_format

from keras_distill.serving.embedded.refusal import Refusal, invalid
from keras_distill.serving.embedded.servable import DEFAULT_SIGNATURE, Servable

_NOUNS = {
    "tensorflow/serving/classify": "classification",
    "tensorflow/serving/regress": "regression",
}


def single_refusal(servable: Servable, signature: str, method: str) -> Refusal:
    """Returns the refusal of TF-Serving to Classify and Regress for such a model.

    Args:
        servable: The requested version.
        signature: Name of the signature in the request.
        method: `tensorflow/serving/classify` or `tensorflow/serving/regress`.
    """
    name = signature or DEFAULT_SIGNATURE
    if name not in servable.signatures:
        return invalid(f"No signature was found with the name: {name}")
    return _refusal(servable.signatures[name], method)


def multiple_refusal(servable: Servable, tasks: Any) -> Refusal:
    """Returns the refusal of TF-Serving to MultiInference for such a model.

    Args:
        servable: The requested version.
        tasks: The `InferenceTask`s of the request.
    """
    task = tasks[0]
    name = task.model_spec.signature_name or DEFAULT_SIGNATURE
    if name not in servable.signatures:
        return invalid(f"Requested signature not found in model graph: {name}")
    if task.method_name not in _NOUNS:
        message = f"Unsupported signature method_name: {task.method_name}"
        return Refusal(grpc.StatusCode.UNIMPLEMENTED, message)
    return _refusal(servable.signatures[name], task.method_name)


def _refusal(signature: Any, method: str) -> Refusal:
    if len(signature.inputs) != 1:
        return invalid("Expected one input Tensor.")
    noun = _NOUNS[method]
    if "inputs" in signature.inputs:
        message = f"The embedded server serves no {noun}, only Predict."
        return Refusal(grpc.StatusCode.UNIMPLEMENTED, message)
    text = text_format.MessageToString(signature)
    return invalid(f"No {noun} inputs found in SignatureDef: {text}")
