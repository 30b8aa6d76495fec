"""The messages of TensorFlow Serving's gRPC interface, without TensorFlow.

The official stubs import all of TensorFlow. These classes write the same bytes. They live in a pool
of their own, so that TensorFlow can be loaded into the same process. `prediction.proto` defines
them.
"""

from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf import any_pb2, descriptor_pool, message_factory, wrappers_pb2

from keras_distill.serving.client.proto_file import read_proto

_FILE = read_proto(
    Path(__file__).with_name("prediction.proto").read_text(encoding="utf-8"), "prediction.proto"
)
_POOL = descriptor_pool.DescriptorPool()
for _imported in (any_pb2, wrappers_pb2):
    _POOL.AddSerializedFile(_imported.DESCRIPTOR.serialized_pb)
_POOL.Add(_FILE)


class Method(NamedTuple):
    """A remote procedure.

    Attributes:
        path: Its name in HTTP/2, `/package.Service/Method`.
        request: Class of the request.
        response: Class of the answer.
    """

    path: str
    request: Any
    response: Any


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_FILE.package}.{name}"))


GetModelMetadataRequest = _message("GetModelMetadataRequest")
GetModelMetadataResponse = _message("GetModelMetadataResponse")
GetModelStatusRequest = _message("GetModelStatusRequest")
GetModelStatusResponse = _message("GetModelStatusResponse")
ModelSpec = _message("ModelSpec")
ModelVersionStatus = _message("ModelVersionStatus")
PredictionLog = _message("PredictionLog")
PredictLog = _message("PredictLog")
PredictRequest = _message("PredictRequest")
PredictResponse = _message("PredictResponse")
SignatureDefMap = _message("SignatureDefMap")
TensorProto = _message("TensorProto")

METHODS = {
    method.name: Method(
        f"/{_FILE.package}.{service.name}/{method.name}",
        _message(method.input_type),
        _message(method.output_type),
    )
    for service in _FILE.service
    for method in service.method
}


def enum_name(enum: str, number: int) -> str:
    """Returns the name of a value of an enumeration.

    Args:
        enum: The enumeration: `DataType`, `Code` or `ModelVersionStatus.State`.
        number: The value.

    Returns:
        Its name, or the number as text if it has none.

    Example:
        >>> enum_name("DataType", 1), enum_name("DataType", 999)
        ('DT_FLOAT', '999')
    """
    value = _POOL.FindEnumTypeByName(f"{_FILE.package}.{enum}").values_by_number.get(number)
    return value.name if value else str(number)
