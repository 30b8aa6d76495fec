"""What a served model has to be for the client: the signatures of an exported embedder."""

from dataclasses import dataclass
from typing import Any

import grpc

from keras_distill.serving.client.errors import ModelMismatch
from keras_distill.serving.client.exchange import Exchange, call
from keras_distill.serving.client.messages import (
    GetModelMetadataRequest,
    SignatureDefMap,
    enum_name,
)
from keras_distill.serving.client.model_reference import ModelReference
from keras_distill.serving.client.tensors import DT_FLOAT, DT_STRING, DT_UINT8

INPUTS = {
    "serving_default": ("image_bytes", DT_STRING),
    "serve_uint8": ("image", DT_UINT8),
    "serve_float": ("image", DT_FLOAT),
}
OUTPUT = "embedding"
_FIELD = "signature_def"


@dataclass(frozen=True)
class ServedModel:
    """What a server says of its model.

    Attributes:
        name: Its name.
        version: Its version.
        dim: Width of the embeddings.
        image_shape: Height, width and channels of the images that it takes as arrays, in pixels;
            `None` where any will do.
    """

    name: str
    version: int
    dim: int
    image_shape: tuple[int | None, ...]


def connect(reference: ModelReference, dim: int | None, timeout: float) -> Exchange[ServedModel]:
    """Asks for a model's signatures and compares them with those of an exported embedder.

    Args:
        reference: The model.
        dim: Width that its embeddings must have; `None` for any.
        timeout: Seconds until this fails.

    Returns:
        What the server says of the model.

    Raises:
        ModelMismatch: If a signature is missing or has other names, types or widths; the message
            lists all differences.
        ServingError: If the server does not answer, or does not have the model.
    """
    request = GetModelMetadataRequest(model_spec=reference.spec(), metadata_field=[_FIELD])
    try:
        response = yield from call("GetModelMetadata", request, timeout)
    except grpc.RpcError as error:
        raise reference.failure(error) from error
    signatures = SignatureDefMap.FromString(response.metadata[_FIELD].value).signature_def
    faults = [fault for name in INPUTS for fault in _faults(signatures, name)]
    if faults:
        raise ModelMismatch(
            f"{reference} is not an embedder of keras_distill: {'; '.join(faults)}. Export it by "
            "`python -m keras_distill.export`."
        )
    widths = [_shape(signatures[name].outputs[OUTPUT])[1] for name in INPUTS]
    width = widths[0]
    if width is None or len(set(widths)) > 1:
        raise ModelMismatch(f"{reference} gives embeddings of widths {widths}, not of one.")
    if dim not in (None, width):
        raise ModelMismatch(f"{reference} gives embeddings of width {width}, not of dim={dim}.")
    return ServedModel(
        name=reference.name,
        version=response.model_spec.version.value,
        dim=width,
        image_shape=_shape(signatures["serve_uint8"].inputs["image"])[1:],
    )


def _faults(signatures: Any, name: str) -> list[str]:
    if name not in signatures:
        return [f"it has no signature {name!r}, only {', '.join(sorted(signatures)) or 'none'}"]
    key, dtype = INPUTS[name]
    rank = 1 if dtype == DT_STRING else 4
    return _tensor_faults(name, "input", signatures[name].inputs, key, dtype, rank) + (
        _tensor_faults(name, "output", signatures[name].outputs, OUTPUT, DT_FLOAT, 2)
    )


def _tensor_faults(
    signature: str, side: str, tensors: Any, key: str, dtype: int, rank: int
) -> list[str]:
    if key not in tensors:
        return [f"{signature} has no {side} {key!r}, only {', '.join(sorted(tensors)) or 'none'}"]
    faults = []
    if tensors[key].dtype != dtype:
        found, wanted = (enum_name("DataType", number) for number in (tensors[key].dtype, dtype))
        faults.append(f"{side} {key!r} of {signature} is {found}, not {wanted}")
    if len(_shape(tensors[key])) != rank:
        faults.append(f"{side} {key!r} of {signature} has rank {len(_shape(tensors[key]))}")
    return faults


def _shape(tensor: Any) -> tuple[int | None, ...]:
    return tuple(dim.size if dim.size >= 0 else None for dim in tensor.tensor_shape.dim)
