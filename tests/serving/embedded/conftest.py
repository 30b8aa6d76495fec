"""One server for the session, and what the tests send to it."""

import functools
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

SIZE, DIM = 32, 32


@pytest.fixture(scope="session")
def export():
    """Exports a small embedder as a version of a model."""
    import keras

    from keras_distill.models.embedder import build_embedder
    from keras_distill.serving.export.bundle import export_embedder

    keras.utils.set_random_seed(0)
    model = build_embedder(
        "mobilenet",
        backbone_layer="conv_pw_1_relu",
        alpha=0.25,
        image_size=SIZE,
        embedding_dim=DIM,
        backbone_weights="none",
    )

    def export(models, name="student", version=1):
        return export_embedder(model, models, name=name, version=version)

    return export


@pytest.fixture(scope="session")
def exported(export, tmp_path_factory):
    """The folder of version 1 of the model `student`, to be copied, not changed."""
    return export(tmp_path_factory.mktemp("exported"))


@contextmanager
def running(nursery, *flags):
    """A server as a process, stopped by SIGTERM."""
    command = [sys.executable, "-m", "keras_distill.serve", "--port=0", "--rest_port=0", *flags]
    with tempfile.TemporaryFile("w+") as log:
        process = nursery.popen(command, stdout=subprocess.PIPE, stderr=log, text=True)

        def read_log():
            log.seek(0)
            return log.read()

        try:
            line = process.stdout.readline()
            if not line:
                pytest.fail(read_log())
            ready = json.loads(line)
            yield SimpleNamespace(**ready, process=process, read_log=read_log)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            process.stdout.close()


@pytest.fixture(scope="session")
def server_process(nursery):
    return functools.partial(running, nursery)


@pytest.fixture(scope="session")
def embedded(exported, server_process):
    """The embedded server with the model `student`; it must have lived to the end."""
    with server_process(f"--models={exported.parents[1]}", "--max_message_megabytes=8") as server:
        server.version = exported
        yield server
        assert server.process.poll() is None
    assert server.process.returncode == 0


@pytest.fixture(scope="session")
def tensorflow_serving(export):
    """A real server, started by hand on what this fixture writes; see test_golden.py."""
    if "KERAS_DISTILL_TFS_ADDRESS" not in os.environ:
        pytest.skip("KERAS_DISTILL_TFS_ADDRESS names no server")
    from pathlib import Path

    from keras_distill.serving.client.client import EmbeddingClient

    models = Path(os.environ["KERAS_DISTILL_TFS_MODELS"])
    if not (models / "student" / "1").exists():
        export(models)
    address = os.environ["KERAS_DISTILL_TFS_ADDRESS"]
    with EmbeddingClient(address, model="student") as client:
        client.wait(60)
    rest = os.environ.get("KERAS_DISTILL_TFS_REST_ADDRESS", address.rpartition(":")[0] + ":8501")
    return SimpleNamespace(grpc=address, rest=rest, version=models / "student" / "1")


@pytest.fixture(scope="session")
def encode():
    """Encodes noise as the file of an image."""

    def encode(height=40, width=45, kind="JPEG", seed=0):
        noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).save(file, kind)
        return file.getvalue()

    return encode


@pytest.fixture(scope="session")
def ask():
    """Sends a request of HTTP; returns status, type of content, and body."""

    def ask(address, path, body=None, headers=()):
        request = urllib.request.Request(f"http://{address}{path}", body, dict(headers))
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.headers.get_content_type(), response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers.get_content_type(), error.read()

    return ask
