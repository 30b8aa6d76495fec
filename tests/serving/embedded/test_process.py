"""The command from its start to its end."""

import shutil
import signal
import threading
import time
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from keras_distill.serving.client.client import EmbeddingClient
from keras_distill.serving.client.errors import ServingError

OPERATORS = Path(__file__).parents[3] / "serving" / "config" / "models.config"


def test_the_operators_configuration_and_a_gentle_end(server_process, exported, encode, tmp_path):
    """A label moves while requests run, and SIGTERM ends the process, but no request."""
    for version in ("1", "2"):
        shutil.copytree(exported, tmp_path / "models" / "photos" / version)
    config = tmp_path / "models.config"
    config.write_text(OPERATORS.read_text())
    served, failed = [], []
    with server_process(
        f"--models={tmp_path}/models",
        f"--model_config={config}",
        "--poll_seconds=0.1",
        "--host=0.0.0.0",
    ) as server:
        assert server.models == {"photos": [1]}
        address = f"localhost:{server.grpc.rpartition(':')[2]}"

        def embed_until_the_end():
            with EmbeddingClient(address, model="photos", label="stable", timeout=10) as client:
                while not failed:
                    try:
                        result = client.embed([encode()] * 3, on_error="return")
                    except ServingError as error:
                        failed.append(error.code)
                    else:
                        assert not result.errors
                        served.append(result.version)

        def wait_until_served(version):
            while version not in served:
                assert embedding.is_alive(), failed
                time.sleep(0.01)

        embedding = threading.Thread(target=embed_until_the_end)
        embedding.start()
        wait_until_served(1)
        text = config.read_text().replace("versions: 1", "versions: 1 versions: 2")
        config.write_text(text.replace('"stable" value: 1', '"stable" value: 2'))
        wait_until_served(2)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        embedding.join()
        log = server.read_log()
    assert sorted(set(served)) == [1, 2]
    assert failed == [grpc.StatusCode.UNAVAILABLE]
    assert "--host=0.0.0.0 is open to other machines without TLS and a secret" in log
    assert "photos version 2 is available" in log
    assert "Traceback" not in log


@pytest.mark.slow
def test_the_end_cancels_no_call(server_process, exported):
    """Callers who hardly pause, so that some call in the moment in which it ends."""
    codes = set()
    request = predict_pb2.PredictRequest(model_spec={"name": "unknown"})

    def call_until_the_end(address):
        with grpc.insecure_channel(address) as channel:
            predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
            while True:
                with pytest.raises(grpc.RpcError) as refused:
                    predict(request, timeout=10)
                codes.add(refused.value.code())
                told = refused.value.details()
                if "unknown" not in told and told != "The server is shutting down.":
                    return
                time.sleep(0.001)  # or they would take the cores from the server

    with server_process(f"--models={exported.parents[1]}") as server:
        callers = [
            threading.Thread(target=call_until_the_end, args=[server.grpc]) for _ in range(8)
        ]
        for caller in callers:
            caller.start()
        while not codes:
            assert any(caller.is_alive() for caller in callers)
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        for caller in callers:
            caller.join()
    assert codes == {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE}
