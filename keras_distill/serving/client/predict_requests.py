"""Requests for outputs, through each signature of an exported model."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_distill.serving.client.messages import PredictRequest
from keras_distill.serving.client.model_contract import INPUTS
from keras_distill.serving.client.output_contract import EMBEDDING
from keras_distill.serving.client.tensors import encode_array, encode_strings


def predict_request(
    signature: str, images: Sequence[bytes] | np.ndarray, outputs: Sequence[str] = (EMBEDDING,)
) -> Any:
    """Returns the request for the outputs of a model for images.

    Args:
        signature: `serving_default`, `serve_uint8` or `serve_float`.
        images: Bytes of JPEG or PNG files for `serving_default`; else an array
            `(n, height, width, 3)` of that type.
        outputs: Names of the outputs to return.

    Returns:
        A `PredictRequest` that names the signature, but no model.
    """
    tensor = encode_array(images) if isinstance(images, np.ndarray) else encode_strings(images)
    return tensor_request(signature, tensor, outputs)


def tensor_request(signature: str, tensor: Any, outputs: Sequence[str] = (EMBEDDING,)) -> Any:
    """As `predict_request`, of images that are a `TensorProto` already."""
    request = PredictRequest(output_filter=outputs)
    request.model_spec.signature_name = signature
    request.inputs[INPUTS[signature][0]].CopyFrom(tensor)
    return request
