"""Contract of a served model: the signatures that an exported model has."""

from collections.abc import Mapping, Sequence
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
from keras_distill.serving.client.output_contract import EMBEDDING
from keras_distill.serving.client.tensors import DT_FLOAT, DT_STRING, DT_UINT8

INPUTS = {
    "serving_default": ("image_bytes", DT_STRING),
    "serve_uint8": ("image", DT_UINT8),
    "serve_float": ("image", DT_FLOAT),
}
_FIELD = "signature_def"


@dataclass(frozen=True)
class ServedModel:
    """What a server says of its model.

    Attributes:
        name: Its name.
        version: Its version.
        dim: Width of the embeddings; `None` of a model without the output `embedding`.
        image_shape: Height, width and channels of the images that it takes as arrays, in pixels;
            `None` where any will do.
        outputs: Its outputs of float32 by name, and the shape of a row, which is one image's.
    """

    name: str
    version: int
    dim: int | None
    image_shape: tuple[int | None, ...]
    outputs: Mapping[str, tuple[int, ...]]

    def rows(self, names: Sequence[str] | None = None) -> dict[str, tuple[int, ...]]:
        """Returns the shape of a row by output.

        Args:
            names: Names of outputs; `None` for all.

        Raises:
            ModelMismatch: If there is no such output.
        """
        names = list(self.outputs) if names is None else names
        for name in names:
            if name not in self.outputs:
                remedy = ": `predict` returns these" if name == EMBEDDING else ""
                raise ModelMismatch(
                    f"model {self.name!r}, version {self.version}, has no output {name!r}, only "
                    f"{', '.join(sorted(self.outputs))}{remedy}."
                )
        return {name: self.outputs[name] for name in names}


def connect(reference: ModelReference, dim: int | None, timeout: float) -> Exchange[ServedModel]:
    """Requests a model's signatures and compares them with those of an exported model.

    Args:
        reference: The model.
        dim: Width that its embeddings must have; `None` for any.
        timeout: Seconds until this fails.

    Returns:
        What the server says of the model.

    Raises:
        ModelMismatch: If a signature is missing or has other inputs, types or widths, or there is
            no output of float32; the message lists all differences.
        ServingError: If the server does not answer, or does not have the model.
    """
    request = GetModelMetadataRequest(model_spec=reference.spec(), metadata_field=[_FIELD])
    try:
        response = yield from call("GetModelMetadata", request, timeout)
    except grpc.RpcError as error:
        raise reference.failure(error) from error
    signatures = SignatureDefMap.FromString(response.metadata[_FIELD].value).signature_def
    outputs = _row_shapes(signatures)
    embeds = not outputs or any(
        EMBEDDING in signatures[name].outputs for name in INPUTS if name in signatures
    )
    faults = [fault for name in INPUTS for fault in _faults(signatures, name, embeds)]
    if faults:
        kind = "an embedder" if embeds else "a model"
        raise ModelMismatch(
            f"{reference} is not {kind} of keras_distill: {'; '.join(faults)}. Export it by "
            "`python -m keras_distill.export`."
        )
    width = None
    if embeds:
        width = _width(reference, signatures)
        outputs[EMBEDDING] = (width,)
    if dim not in (None, width):
        found = "no embeddings" if width is None else f"embeddings of width {width}"
        raise ModelMismatch(f"{reference} gives {found}, not of dim={dim}.")
    return ServedModel(
        name=reference.name,
        version=response.model_spec.version.value,
        dim=width,
        image_shape=_shape(signatures["serve_uint8"].inputs["image"])[1:],
        outputs=outputs,
    )


def _row_shapes(signatures: Any) -> dict[str, tuple[int, ...]]:
    """The outputs of float32 that all signatures have, with a row of known shape for each image."""
    tables = [_float_rows(signatures[name]) if name in signatures else {} for name in INPUTS]
    first, *others = tables
    return {
        key: shape
        for key, shape in sorted(first.items())
        if all(table.get(key) == shape for table in others)
    }


def _float_rows(signature: Any) -> dict[str, tuple[int, ...]]:
    rows = {}
    for key, tensor in signature.outputs.items():
        batch, *shape = _shape(tensor) or (0,)
        known = tuple(size for size in shape if size is not None)
        if tensor.dtype == DT_FLOAT and batch is None and len(known) == len(shape):
            rows[key] = known
    return rows


def _width(reference: ModelReference, signatures: Any) -> int:
    widths = [_shape(signatures[name].outputs[EMBEDDING])[1] for name in INPUTS]
    width = widths[0]
    if width is None or len(set(widths)) > 1:
        raise ModelMismatch(f"{reference} gives embeddings of widths {widths}, not of one.")
    return width


def _faults(signatures: Any, name: str, embeds: bool) -> list[str]:
    if name not in signatures:
        return [f"it has no signature {name!r}, only {', '.join(sorted(signatures)) or 'none'}"]
    key, dtype = INPUTS[name]
    rank = 1 if dtype == DT_STRING else 4
    faults = _tensor_faults(name, "input", signatures[name].inputs, key, dtype, rank)
    if embeds:
        faults += _tensor_faults(name, "output", signatures[name].outputs, EMBEDDING, DT_FLOAT, 2)
    return faults


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
