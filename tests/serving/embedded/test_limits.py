"""Limits of the server: what would cost too much costs an error, and the server lives."""

import http.client
import json
import struct
import zlib

import grpc
import numpy as np
import psutil
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

MEGABYTE = 10**6


@pytest.fixture(scope="module")
def stub(embedded):
    unlimited = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(embedded.grpc, unlimited) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(autouse=True)
def alive_afterwards(embedded, stub, encode):
    yield
    assert len(stub.Predict(request(image_bytes=[encode()])).outputs["embedding"].float_val) == 32
    assert embedded.process.poll() is None


def request(signature="", **inputs):
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "student"
    message.model_spec.signature_name = signature
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return message


def refused(stub, message):
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(message, timeout=60)
    return error.value.code().name, error.value.details()


def png_of_zeros(width, height):
    """A file of a few kilobytes that is decoded to `width * height * 3` bytes."""

    def chunk(name, data):
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    deflate = zlib.compressobj(9)
    rows = b"".join(deflate.compress(bytes(1 + 3 * width)) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", rows + deflate.flush())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def jpeg_that_claims(encode, width, height):
    good = encode()
    frame = good.index(b"\xff\xc0")
    return good[: frame + 5] + struct.pack(">HH", height, width) + good[frame + 9 :]


def test_images_that_claim_too_many_pixels(embedded, stub, encode):
    server = psutil.Process(embedded.process.pid)
    before = server.memory_info().rss
    for bomb, size in (
        (png_of_zeros(10_000, 10_001), "10000x10001"),
        (jpeg_that_claims(encode, 65_000, 65_000), "65000x65000"),
    ):
        code, message = refused(stub, request(image_bytes=[encode(), bomb]))
        assert code == "INVALID_ARGUMENT"
        assert message == (
            f"An image claims {size} pixels, more than the 100000000 that are decoded here "
            "(the server's max_pixels)."
        )
    assert server.memory_info().rss < before + 50 * MEGABYTE


def test_a_tensor_that_claims_terabytes(stub):
    message = request("serve_uint8", image=np.zeros((1, 32, 32, 3), np.uint8))
    tensor = message.inputs["image"]
    tensor.ClearField("tensor_content")
    tensor.int_val.append(7)  # stands for all
    tensor.tensor_shape.dim[0].size = 2**40
    code, text = refused(stub, message)
    assert code == "INVALID_ARGUMENT"
    assert "claims 3377699720527872 bytes, more than the 8000000" in text


@pytest.mark.parametrize("number", [300, -1])
def test_numbers_that_are_no_bytes(stub, number):
    message = request("serve_uint8", image=np.zeros((1, 32, 32, 3), np.uint8))
    message.inputs["image"].ClearField("tensor_content")
    message.inputs["image"].int_val.append(number)
    assert refused(stub, message) == ("INVALID_ARGUMENT", "tensor parsing error: image")


def test_a_message_that_is_too_long(stub):
    code, message = refused(stub, request(image_bytes=[bytes(9 * MEGABYTE)]))
    assert code == "RESOURCE_EXHAUSTED"
    assert "message larger than max" in message  # what the client halves a batch for


def test_garbage_in_place_of_a_message(embedded):
    with grpc.insecure_channel(embedded.grpc) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        with pytest.raises(grpc.RpcError) as error:
            call(b"\xff" * MEGABYTE, timeout=60)
    assert error.value.code() is grpc.StatusCode.INTERNAL


def test_a_gigabyte_for_rest(embedded):
    """The length alone is sent, and then as much as the server takes."""
    connection = http.client.HTTPConnection(embedded.rest, timeout=60)
    connection.putrequest("POST", "/v1/models/student:predict")
    connection.putheader("Content-Length", str(10**9))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413
    connection.close()


def test_a_gigabyte_in_chunks(embedded):
    connection = http.client.HTTPConnection(embedded.rest, timeout=60)
    connection.putrequest("POST", "/v1/models/student:predict")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    sent = 0
    try:
        while sent < 1000:
            connection.send(b"%x\r\n" % MEGABYTE + bytes(MEGABYTE) + b"\r\n")
            sent += 1
    except OSError:
        pass  # the server has hung up
    assert sent < 100
    connection.close()


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"instances": ' + b"[" * 100_000, b"\xff\xfe", b"1" * 10_000, b""]
)
def test_json_that_is_none(embedded, ask, body):
    status, _, answer = ask(embedded.rest, "/v1/models/student:predict", body or b" ")
    assert status == 400
    assert json.loads(answer)["error"].startswith(("JSON", "The request has to be"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"instances": ' + b"[" * 600 + b"]" * 600 + b"}", "has too many dimensions"),
        (b'{"signature_name": "\\ud800", "instances": [1]}', "must be a string"),
    ],
)
def test_json_that_stands_for_nothing(embedded, ask, body, said):
    status, _, answer = ask(embedded.rest, "/v1/models/student:predict", body)
    assert status == 400
    assert said in json.loads(answer)["error"]
