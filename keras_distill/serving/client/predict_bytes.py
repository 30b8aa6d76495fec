"""Requests for outputs as the bytes that are sent.

A request holds megabytes of images. A protobuf message copies them when it is filled and again when
it is written; here they are copied once, to where they go in the encoding
(https://protobuf.dev/programming-guides/encoding).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_distill.serving.client.messages import PredictRequest, TensorProto
from keras_distill.serving.client.model_contract import INPUTS
from keras_distill.serving.client.output_contract import EMBEDDING

_BYTES_FOLLOW = 2  # the wire type of strings, bytes and messages
_KEY, _VALUE = 1, 2  # fields of an entry of a map


def predict_bytes(
    spec: Any, images: Sequence[bytes | np.ndarray], outputs: Sequence[str] = (EMBEDDING,)
) -> bytes:
    """Writes the request for the outputs of a model for images.

    Args:
        spec: The `ModelSpec`, which names one of the signatures in `INPUTS`.
        images: At least one: bytes of JPEG or PNG files for `serving_default`; else uint8 or
            float32 arrays of one shape, for the other signatures.
        outputs: Names of the outputs to return.

    Returns:
        What the `PredictRequest` with the images as its only input would be written as.

    Example:
        >>> from keras_distill.serving.client.messages import ModelSpec
        >>> spec = ModelSpec(name="birds", signature_name="serving_default")
        >>> PredictRequest.FromString(predict_bytes(spec, [b"JPEG"])).output_filter
        ['embedding']
    """
    name, dtype = INPUTS[spec.signature_name]
    tensor = TensorProto(dtype=dtype)
    content: list[bytes | memoryview] = []
    for image in images:
        if isinstance(image, bytes):
            content += _field(_number(tensor, "string_val"), [image])
        else:
            content.append(np.ascontiguousarray(image, image.dtype.newbyteorder("<")).data)
    if isinstance(images[0], np.ndarray):
        content = [*_field(_number(tensor, "tensor_content"), content)]
    for size in (len(images), *getattr(images[0], "shape", ())):
        tensor.tensor_shape.dim.add(size=size)
    value = _field(_VALUE, [tensor.SerializeToString(), *content])
    entry = [*_field(_KEY, [name.encode()]), *value]
    return b"".join(
        (
            PredictRequest(model_spec=spec).SerializeToString(),
            *_field(_number(PredictRequest, "inputs"), entry),
            PredictRequest(output_filter=outputs).SerializeToString(),
        )
    )


def _field(number: int, parts: Sequence[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Yields a field: its tag, the length of its content, and the parts of that."""
    length = sum(memoryview(part).nbytes for part in parts)
    yield _varint(number << 3 | _BYTES_FOLLOW) + _varint(length)
    yield from parts


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the high bit tells that another byte follows."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _number(message: Any, field: str) -> int:
    return message.DESCRIPTOR.fields_by_name[field].number
