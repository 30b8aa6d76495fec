"""The server in this process, with models that do what the test wants."""

import base64
import json
import shutil
import threading
import time

import grpc
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from keras_distill.serving.client.client import EmbeddingClient
from keras_distill.serving.embedded import server as server_module
from keras_distill.serving.embedded.model_config import scan_models
from keras_distill.serving.embedded.refusal import Refusal
from keras_distill.serving.embedded.server import EmbeddedServer, ServerSettings

CODES = grpc.StatusCode
WARM_UP = "assets.extra/tf_serving_warmup_requests"


@pytest.fixture
def models(exported, tmp_path):
    """A folder with version 1 of the model `student`, without requests to warm it up."""
    version = tmp_path / "models" / "student" / "1"
    shutil.copytree(exported, version, ignore=shutil.ignore_patterns("assets.extra"))
    return tmp_path / "models"


@pytest.fixture
def serve(models):
    """Starts a server on that folder."""
    servers = []

    def serve(**settings):
        defaults = {
            "host": "127.0.0.1",
            "port": 0,
            "rest_port": 0,
            "max_concurrent": 4,
            "max_message_bytes": 10**7,
            "max_body_bytes": 10**6,
            "max_pixels": 10**6,
            "poll_seconds": 0.0,
        }
        wanted = ServerSettings(**(defaults | settings))
        server = EmbeddedServer(wanted, lambda: scan_models(models), models)
        servers.append(server)
        server.start()
        return server

    yield serve
    for server in servers:
        server.stop(0)
        server.close()


class Slow:
    """A model that answers when it is told to."""

    running = threading.Semaphore(0)
    go_on = threading.Event()

    def __init__(self, folder, name, version, limits):
        text = meta_graph_pb2.TensorInfo(dtype=tf.string.as_datatype_enum)
        self.signatures = {"serving_default": meta_graph_pb2.SignatureDef(inputs={"x": text})}

    def predict(self, request, check_deadline=lambda: None):
        type(self).running.release()
        assert type(self).go_on.wait(60)
        return predict_pb2.PredictResponse(model_spec={"name": "slow"})


@pytest.fixture
def slow(monkeypatch):
    class Fresh(Slow):
        running, go_on = threading.Semaphore(0), threading.Event()

    monkeypatch.setattr(server_module, "Servable", Fresh)
    yield Fresh
    Fresh.go_on.set()


@pytest.fixture
def stub_of():
    channels = []

    def make(server, stub=prediction_service_pb2_grpc.PredictionServiceStub):
        channels.append(grpc.insecure_channel(server.grpc_address))
        return stub(channels[-1])

    yield make
    for channel in channels:
        channel.close()


def request(name="student"):
    return predict_pb2.PredictRequest(model_spec={"name": name})


def status(server, stub_of, version):
    wanted = get_model_status_pb2.GetModelStatusRequest()
    wanted.model_spec.name = "student"
    wanted.model_spec.version.value = version
    stub = stub_of(server, model_service_pb2_grpc.ModelServiceStub)
    return stub.GetModelStatus(wanted).model_version_status[0]


def test_more_than_max_concurrent_are_refused(serve, slow, stub_of, ask):
    server = serve(max_concurrent=2)
    stub = stub_of(server)
    running = [stub.Predict.future(request()) for _ in range(2)]
    for _ in running:
        assert slow.running.acquire(timeout=60)
    with pytest.raises(grpc.RpcError, match="Server Threadpool Exhausted") as error:
        stub.Predict(request())
    assert error.value.code() is CODES.RESOURCE_EXHAUSTED
    code, _, body = ask(server.rest_address, "/v1/models/student:predict", b"{}")
    assert (code, json.loads(body)) == (429, {"error": "Server Threadpool Exhausted"})
    assert status(server, stub_of, 1).state == 30  # questions about the model are answered
    slow.go_on.set()
    assert [call.result().model_spec.name for call in running] == ["slow", "slow"]
    _, _, text = ask(server.rest_address, "/monitoring/prometheus/metrics")
    assert b'request_count{model_name="student",status="OK"} 2.0' in text
    assert b'request_count{model_name="student",status="RESOURCE_EXHAUSTED"} 2.0' in text


def test_work_whose_deadline_has_passed_is_not_run(serve, slow, stub_of):
    seen = []
    began = threading.Event()

    def wait_for_the_deadline(self, request, check_deadline):
        began.set()
        try:
            while True:
                check_deadline()
                time.sleep(0.01)
        except Refusal as refusal:
            seen.append(refusal.code)
            raise

    slow.predict = wait_for_the_deadline
    server = serve()
    call = stub_of(server).Predict.future(request(), timeout=5)
    assert began.wait(60)
    assert call.code() is CODES.DEADLINE_EXCEEDED
    assert server.stop(60)
    assert seen == [CODES.DEADLINE_EXCEEDED]


def test_a_stopping_server_finishes_running_requests_and_refuses_new_ones(serve, slow, stub_of):
    server = serve()
    stub, health = stub_of(server), stub_of(server, health_pb2_grpc.HealthStub)
    states = health.Watch(health_pb2.HealthCheckRequest())
    assert next(states).status == health_pb2.HealthCheckResponse.SERVING
    running = stub.Predict.future(request())
    assert slow.running.acquire(timeout=60)
    ended = []
    stopping = threading.Thread(target=lambda: ended.append(server.stop(60)))
    stopping.start()
    assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(request())
    assert error.value.code() is CODES.UNAVAILABLE
    assert not ended
    slow.go_on.set()
    assert running.result().model_spec.name == "slow"
    stopping.join()
    assert ended == [True]


def test_requests_longer_than_the_drain_are_cut_off(serve, slow, stub_of):
    server = serve()
    running = stub_of(server).Predict.future(request())
    assert slow.running.acquire(timeout=60)
    assert not server.stop(0.1)
    server.close()
    assert running.code() in (CODES.UNAVAILABLE, CODES.CANCELLED)


def test_rest_finishes_too(serve, slow, ask):
    server = serve()
    answers = []

    def predict():
        body = json.dumps({"instances": ["x"]}).encode()
        answers.append(ask(server.rest_address, "/v1/models/student:predict", body))

    calling = threading.Thread(target=predict)
    calling.start()
    assert slow.running.acquire(timeout=60) or answers
    threading.Timer(0.2, slow.go_on.set).start()
    assert server.stop(60)
    calling.join()
    assert [answer[0] for answer in answers] == [200]


def test_versions_appear_and_fail_while_it_runs(serve, models, stub_of, encode):
    server = serve(poll_seconds=0.05)
    with EmbeddingClient(server.grpc_address, model="student") as client:
        broken = models / "student" / "2"
        shutil.copytree(models / "student" / "1", broken.with_name(".tmp-2"))
        (broken.with_name(".tmp-2") / "variables" / "variables.index").write_bytes(b"broken")
        broken.with_name(".tmp-2").rename(broken)
        (models / "student" / "3").mkdir()
        while {state.version: state.state for state in client.status()}.get(3) != "END":
            time.sleep(0.02)
        assert client.embed([encode()], on_error="return").version == 1
        shutil.copytree(models / "student" / "1", models / "student" / ".tmp-4")
        (models / "student" / ".tmp-4").rename(models / "student" / "4")
        while {state.version: state.state for state in client.status()}.get(1) != "END":
            time.sleep(0.02)
        assert client.embed([encode()], on_error="return").version == 4
        states = {state.version: state for state in client.status()}
        assert states[4].state == "AVAILABLE"
        assert states[3].error.startswith("NOT_FOUND: No SavedModel in ")
    shutil.rmtree(broken)


@pytest.mark.slow
def test_labels_by_a_reload(serve, models, stub_of, encode):
    shutil.copytree(models / "student" / "1", models / "student" / "2")
    server = serve()
    stub = stub_of(server, model_service_pb2_grpc.ModelServiceStub)

    def reload(**config):
        wanted = model_management_pb2.ReloadConfigRequest()
        entry = wanted.config.model_config_list.config.add(model_platform="tensorflow")
        entry.name, entry.base_path = "birds", "/models/student"
        entry.model_version_policy.all.SetInParent()
        for name, value in config.items():
            setattr(entry, name, value)
        entry.version_labels.update({"stable": 1, "canary": 2})
        return stub.HandleReloadConfigRequest(wanted)

    assert reload().status.error_code == 0
    for label, version in (("stable", 1), ("canary", 2)):
        with EmbeddingClient(server.grpc_address, model="birds", label=label) as client:
            assert client.embed([encode()], on_error="return").version == version
    assert server.models.available() == {"student": [], "birds": [1, 2]}

    for change, code, message in (
        ({"base_path": "/etc"}, CODES.INVALID_ARGUMENT, "is no absolute folder"),
        ({"name": ""}, CODES.INVALID_ARGUMENT, "a config has no name"),
    ):
        with pytest.raises(grpc.RpcError, match=message) as error:
            reload(**change)
        assert error.value.code() is code
    with pytest.raises(grpc.RpcError, match="Only ModelConfigList is currently supported") as error:
        stub.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest())
    assert error.value.code() is CODES.INVALID_ARGUMENT
    assert server.models.available() == {"student": [], "birds": [1, 2]}

    (models / "empty").mkdir()
    with pytest.raises(grpc.RpcError, match=r"1 servable\(s\) did not become available: {birds}"):
        reload(base_path="empty")


def log_of(*images):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name = "another"
    tensor = tf.make_tensor_proto(list(images))
    log.predict_log.request.inputs["image_bytes"].CopyFrom(tensor)
    return log.SerializeToString()


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("records", "code", "message"),
    [
        ([b"good", b"good"], 0, ""),
        ([b"good", b"bad"], 3, "assertion failed: [neither a JPEG nor a PNG image]"),
        ([b"\xff"], 3, "Failed to parse warmup record: 1"),
        ([b""], 12, "Unsupported log_type for warmup: None"),
    ],
)
def test_warm_up(serve, models, stub_of, encode, records, code, message):
    file = models / "student" / "1" / WARM_UP
    file.parent.mkdir()
    logs = {b"good": log_of(encode(), encode()), b"bad": log_of(b"no image")}
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(logs.get(record, record))
    server = serve()
    found = status(server, stub_of, 1)
    assert (found.state, found.status.error_code) == (50 if code else 30, code)
    assert found.status.error_message.startswith(message)


def test_a_model_that_is_no_saved_model(serve, models, stub_of, ask):
    (models / "student" / "1" / "saved_model.pb").write_bytes(b"\xff" * 100)
    server = serve()
    found = status(server, stub_of, 1)
    assert (found.state, found.status.error_code) == (50, 3)
    assert "cannot be loaded" in found.status.error_message
    text = ask(server.rest_address, "/monitoring/prometheus/metrics")[2].decode()
    assert 'load_attempt_count{model_path="' in text
    assert 'student/1",status="fail"} 1.0' in text


def test_rest_values(serve, encode, ask):
    server = serve()
    good = {"b64": base64.b64encode(encode()).decode()}

    def predict(**body):
        code, _, answer = ask(
            server.rest_address, "/v1/models/student:predict", json.dumps(body).encode()
        )
        return code, json.loads(answer)

    code, by_rows = predict(instances=[good, good])
    assert code == 200
    assert predict(inputs={"image_bytes": [good, good]})[1]["outputs"] == by_rows["predictions"]
    pixels = [[[0, 128, 255]] * 32] * 32
    code, by_pixels = predict(signature_name="serve_uint8", instances=[{"image": pixels}])
    assert (code, len(by_pixels["predictions"][0])) == (200, 32)
    pixels[0] = [[0, 128, 256]] * 32
    for body, message in (
        ({"signature_name": "serve_uint8", "inputs": [pixels]}, "as uint8: a number is out of"),
        ({"signature_name": "serve_uint8", "inputs": [[1], 2]}, "cannot be read as uint8"),
        ({"signature_name": "serve_float", "inputs": [["x"]]}, "it holds something else"),
        ({"signature_name": "x", "inputs": [1]}, 'Serving signature key "x" not found.'),
        ({"signature_name": 1, "inputs": [1]}, "'signature_name' key must be a string"),
        ({"instances": [{"b64": "no base 64"}]}, "Input image_bytes cannot be read as string"),
        ({"instances": [{"foo": good}]}, "Signature input alias: image_bytes(feed name: "),
        ({"instances": [{"image_bytes": good}, good]}, "have to name the same inputs"),
        ({"instances": []}, "'instances' has to be a list of values"),
    ):
        code, answer = predict(**body)
        assert code == 400
        assert message in answer["error"]
    code, _, answer = ask(server.rest_address, "/v1/models/student/metadata")
    assert code == 200
    signatures = json.loads(answer)["metadata"]["signature_def"]["signature_def"]
    assert signatures["serve_uint8"]["inputs"]["image"]["dtype"] == "DT_UINT8"
