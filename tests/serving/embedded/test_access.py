"""Who may ask: TLS, certificates of clients, a secret."""

import shutil
import subprocess
import threading

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from keras_distill.errors import InputError
from keras_distill.serving.client.channel import Tls
from keras_distill.serving.client.client import EmbeddingClient
from keras_distill.serving.client.errors import ServingError
from keras_distill.serving.embedded.credentials import tls_credentials


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, and certificates of a server and a client that it has signed."""
    folder = tmp_path_factory.mktemp("tls")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    ca = folder / "ca.crt", folder / "ca.key"
    openssl(
        *("req", "-x509", *new, "-days", "2", "-subj", "/CN=Test CA"),
        *("-out", ca[0], "-keyout", ca[1]),
    )
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    for name in ("server", "client"):
        request, key = folder / f"{name}.csr", folder / f"{name}.key"
        openssl("req", *new, "-subj", f"/CN={name}", "-out", request, "-keyout", key)
        openssl(
            *("x509", "-req", "-in", request, "-extfile", folder / "names", "-days", "2"),
            *("-CA", ca[0], "-CAkey", ca[1], "-CAcreateserial", "-out", folder / f"{name}.crt"),
        )
    return folder


def embed(address, encode, **options):
    with EmbeddingClient(address, model="student", timeout=20, **options) as client:
        return client.embed([encode()])


@pytest.fixture(scope="module")
def guarded(server_process, exported, certificates, tmp_path_factory):
    """A server with everything: TLS, certificates of clients, a secret."""
    secret = tmp_path_factory.mktemp("secret") / "secret"
    secret.write_text("open sesame\n")
    with server_process(
        f"--models={exported.parents[1]}",
        f"--tls_certificate={certificates}/server.crt",
        f"--tls_key={certificates}/server.key",
        f"--client_ca={certificates}/ca.crt",
        f"--secret_file={secret}",
        "--host=127.0.0.1",
    ) as server:
        yield server


@pytest.fixture
def known(certificates):
    return Tls(
        certificates / "ca.crt",
        certificate=certificates / "client.crt",
        key=certificates / "client.key",
    )


@pytest.mark.slow
def test_certificate_and_secret_together(guarded, known, encode):
    secret = {"authorization": "Bearer open sesame"}
    vectors = embed(guarded.grpc, encode, tls=known, metadata=secret)
    np.testing.assert_allclose(np.linalg.norm(vectors), 1, atol=1e-5)


@pytest.mark.parametrize(
    "metadata", [{}, {"authorization": "Bearer open"}, {"authorization": "open sesame"}]
)
def test_without_the_secret(guarded, known, encode, metadata):
    with pytest.raises(ServingError, match=r"UNAUTHENTICATED: Give the server's secret"):
        embed(guarded.grpc, encode, tls=known, metadata=metadata)


def test_nobody_without_the_secret_holds_a_thread(guarded, known):
    """A call whose message never comes is refused all the same."""
    sent = threading.Event()

    def nothing():
        sent.wait(60)
        yield from ()

    with grpc.secure_channel(guarded.grpc, known.credentials()) as channel:
        method = "/tensorflow.serving.PredictionService/Predict"
        call = channel.stream_unary(method, bytes, bytes).future(nothing(), timeout=50)
        with pytest.raises(grpc.RpcError) as error:
            call.result()
        sent.set()
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_health_needs_no_secret(guarded, known):
    with grpc.secure_channel(guarded.grpc, known.credentials()) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=20).status == 1


def test_rest_requires_the_secret_too(guarded, ask):
    for path in ("/v1/models/student", "/monitoring/prometheus/metrics", "/"):
        assert ask(guarded.rest, path)[0] == 401
        secret = {"authorization": "Bearer open sesame"}
        assert ask(guarded.rest, path, headers=secret)[0] == (404 if path == "/" else 200)


@pytest.mark.parametrize("kind", ["plain text", "no certificate"])
def test_strangers(guarded, certificates, encode, kind):
    tls = None if kind == "plain text" else Tls(certificates / "ca.crt")
    with (
        EmbeddingClient(guarded.grpc, model="student", timeout=2, tls=tls) as client,
        pytest.raises(ServingError, match=r"UNAVAILABLE|DEADLINE_EXCEEDED"),
    ):
        client.embed([encode()])


def test_unusable_files(certificates, tmp_path):
    server, key = certificates / "server.crt", certificates / "server.key"
    assert tls_credentials("", "", "") is None
    for files, message in (
        ((server, "", ""), "TLS needs both `certificate` and `key`"),
        (("", "", certificates / "ca.crt"), "TLS needs both"),
        ((server, certificates / "client.key", ""), "are no pair of PEM files"),
        ((tmp_path / "x", key, ""), "`certificate=.*/x` and .* No such file"),
        ((server, key, key), "`client_ca=.*server.key` is no PEM file"),
        ((server, key, tmp_path / "x"), "`client_ca=.*/x` is no PEM file.*No such file"),
    ):
        with pytest.raises(InputError, match=message):
            tls_credentials(*map(str, files))
    shutil.copy(key, tmp_path / "key")
    assert tls_credentials(str(server), str(tmp_path / "key"), "") is not None
