"""The official stubs are the oracle."""

import pytest
from google.protobuf import descriptor_pool
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from keras_distill.serving.client import messages

OFFICIAL = {
    "GetModelMetadataRequest": get_model_metadata_pb2.GetModelMetadataRequest,
    "GetModelMetadataResponse": get_model_metadata_pb2.GetModelMetadataResponse,
    "GetModelStatusRequest": get_model_status_pb2.GetModelStatusRequest,
    "GetModelStatusResponse": get_model_status_pb2.GetModelStatusResponse,
    "PredictLog": prediction_log_pb2.PredictLog,
    "PredictionLog": prediction_log_pb2.PredictionLog,
    "PredictRequest": predict_pb2.PredictRequest,
    "PredictResponse": predict_pb2.PredictResponse,
    "SignatureDefMap": get_model_metadata_pb2.SignatureDefMap,
}
TEXT = st.text(max_size=5)
SIZES = st.integers(-1, 2**62)


@st.composite
def tensors(draw):
    return {
        "dtype": draw(st.sampled_from([0, 1, 4, 7, 19, 999])),
        "tensor_shape": {
            "dim": [{"size": size} for size in draw(st.lists(SIZES, max_size=3))],
            "unknown_rank": draw(st.booleans()),
        },
        "tensor_content": draw(st.binary(max_size=9)),
        "float_val": draw(st.lists(st.floats(width=32), max_size=3)),
        "string_val": draw(st.lists(st.binary(max_size=9), max_size=3)),
    }


@st.composite
def specs(draw):
    which = draw(
        st.sampled_from([{}, {"version": {"value": draw(SIZES)}}, {"version_label": draw(TEXT)}])
    )
    return {"name": draw(TEXT), "signature_name": draw(TEXT), **which}


def assert_same(name, content):
    """Both classes write the same bytes, and read what the other wrote."""
    ours, official = getattr(messages, name)(**content), OFFICIAL[name](**content)
    written = official.SerializeToString(deterministic=True)
    assert ours.SerializeToString(deterministic=True) == written
    assert type(ours).FromString(written).SerializeToString(deterministic=True) == written


@given(specs(), st.dictionaries(TEXT, tensors(), max_size=2), st.lists(TEXT, max_size=2))
def test_predict_request(spec, inputs, output_filter):
    inputs = {name: tensor_pb2.TensorProto(**tensor) for name, tensor in inputs.items()}
    official = predict_pb2.PredictRequest(
        model_spec=spec, inputs=inputs, output_filter=output_filter
    )
    ours = messages.PredictRequest(model_spec=spec, output_filter=output_filter)
    for name, tensor in inputs.items():
        ours.inputs[name].CopyFrom(messages.TensorProto.FromString(tensor.SerializeToString()))
    written = official.SerializeToString(deterministic=True)
    assert ours.SerializeToString(deterministic=True) == written
    read = messages.PredictRequest.FromString(written)
    assert read.SerializeToString(deterministic=True) == written


@given(specs(), tensors(), tensors())
def test_prediction_log(spec, image, vector):
    written = prediction_log_pb2.PredictionLog()
    written.predict_log.request.CopyFrom(
        predict_pb2.PredictRequest(
            model_spec=spec, inputs={"image": tensor_pb2.TensorProto(**image)}
        )
    )
    written.predict_log.response.outputs["embedding"].CopyFrom(tensor_pb2.TensorProto(**vector))
    ours = messages.PredictionLog()
    ours.predict_log.request.model_spec.CopyFrom(messages.ModelSpec(**spec))
    ours.predict_log.request.inputs["image"].CopyFrom(messages.TensorProto(**image))
    ours.predict_log.response.outputs["embedding"].CopyFrom(messages.TensorProto(**vector))
    assert ours.SerializeToString(deterministic=True) == written.SerializeToString(
        deterministic=True
    )


@given(tensors())
def test_tensor(tensor):
    written = tensor_pb2.TensorProto(**tensor).SerializeToString()
    assert messages.TensorProto(**tensor).SerializeToString() == written


@given(specs())
def test_status_and_metadata_requests(spec):
    assert_same("GetModelStatusRequest", {"model_spec": spec})
    assert_same(
        "GetModelMetadataRequest", {"model_spec": spec, "metadata_field": ["signature_def"]}
    )


@given(st.lists(st.tuples(SIZES, st.sampled_from([0, 10, 20, 30, 40, 50]), TEXT), max_size=3))
def test_status_response(versions):
    assert_same(
        "GetModelStatusResponse",
        {
            "model_version_status": [
                {
                    "version": version,
                    "state": state,
                    "status": {"error_code": 3, "error_message": text},
                }
                for version, state, text in versions
            ]
        },
    )


def test_metadata_response():
    signatures = get_model_metadata_pb2.SignatureDefMap()
    signature = signatures.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    signature.inputs["image_bytes"].name = "bytes:0"
    signature.inputs["image_bytes"].dtype = 7
    signature.outputs["embedding"].tensor_shape.dim.add(size=-1)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.metadata["signature_def"].Pack(signatures)
    ours = messages.GetModelMetadataResponse.FromString(response.SerializeToString())
    assert ours.SerializeToString() == response.SerializeToString()
    content = messages.SignatureDefMap.FromString(ours.metadata["signature_def"].value)
    assert content.SerializeToString() == signatures.SerializeToString()
    found = content.signature_def["serving_default"]
    assert found.inputs["image_bytes"].name == "bytes:0"
    assert found.outputs["embedding"].tensor_shape.dim[0].size == -1


@pytest.mark.parametrize("name", OFFICIAL)
def test_fields_are_those_of_the_official_messages(name):
    compare(getattr(messages, name).DESCRIPTOR, OFFICIAL[name].DESCRIPTOR, set())


def compare(ours, official, seen):
    if ours.full_name in seen:
        return
    seen.add(ours.full_name)
    for field in ours.fields:
        other = official.fields_by_name[field.name]
        assert (field.number, field.type, field.is_repeated) == (
            other.number,
            other.type,
            other.is_repeated,
        ), field.full_name
        assert field.is_packed == other.is_packed
        group, other_group = field.containing_oneof, other.containing_oneof
        assert (group and group.name) == (other_group and other_group.name)
        if field.message_type:
            compare(field.message_type, other.message_type, seen)
        if field.enum_type:
            for value in field.enum_type.values:
                assert other.enum_type.values_by_name[value.name].number == value.number


class RecordingChannel:
    def __init__(self):
        self.methods = {}

    def unary_unary(self, path, *, response_deserializer, **_):
        self.methods[path.rpartition("/")[2]] = (path, response_deserializer.__self__)

    def stream_stream(self, *_, **__):
        pass


def test_methods_are_those_of_the_official_services():
    channel = RecordingChannel()
    prediction_service_pb2_grpc.PredictionServiceStub(channel)
    model_service_pb2_grpc.ModelServiceStub(channel)
    for name, method in messages.METHODS.items():
        path, response = channel.methods[name]
        assert method.path == path
        assert method.request.DESCRIPTOR.name == f"{name}Request"
        assert method.response.DESCRIPTOR.full_name == response.DESCRIPTOR.full_name


def test_the_default_pool_holds_the_official_messages_alone():
    pool = descriptor_pool.Default()
    official = pool.FindMessageTypeByName("tensorflow.serving.PredictRequest")
    assert official is predict_pb2.PredictRequest.DESCRIPTOR
    with pytest.raises(KeyError):
        pool.FindFileByName("prediction.proto")


def test_names_of_values():
    assert messages.enum_name("ModelVersionStatus.State", 30) == "AVAILABLE"
    assert messages.enum_name("Code", 14) == "UNAVAILABLE"
    assert messages.enum_name("DataType", 77) == "77"
