import subprocess

import grpc
import numpy as np
import pytest
from fake_server import FakeServer

from keras_distill.serving.client.channel import Tls
from keras_distill.serving.client.errors import ServingError


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A server's and a client's certificate, each signed by itself, as NAME.pem and NAME.key."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("server", "client"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
            + ["-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", "/CN=localhost"]
            + ["-addext", "subjectAltName=DNS:localhost", "-days", "2"],
            cwd=folder,
            check=True,
            capture_output=True,
        )
    return folder


@pytest.fixture
def encrypted(certificates):
    """A server that speaks TLS with those who show the client's certificate."""
    credentials = grpc.ssl_server_credentials(
        [((certificates / "server.key").read_bytes(), (certificates / "server.pem").read_bytes())],
        root_certificates=(certificates / "client.pem").read_bytes(),
        require_client_auth=True,
    )
    with FakeServer().running(credentials) as server:
        yield server


def test_tls_with_a_client_certificate(make_client, encrypted, certificates):
    tls = Tls(certificates / "server.pem", certificates / "client.pem", certificates / "client.key")
    vectors = make_client(encrypted.address, tls=tls).embed([b"x"])
    np.testing.assert_array_equal(vectors, [FakeServer.embedding(b"x")])


@pytest.mark.parametrize("trusted", ["client.pem", None])
def test_a_server_that_is_not_trusted_is_not_spoken_to(
    make_client, encrypted, certificates, trusted
):
    tls = Tls(certificates / trusted if trusted else None)
    client = make_client(encrypted.address, tls=tls, timeout=1.5)
    with pytest.raises(ServingError, match=r"UNAVAILABLE: .* whether it speaks TLS"):
        client.embed([b"x"])


def test_plain_text_where_tls_is_spoken(make_client, encrypted):
    with pytest.raises(ServingError, match=r"UNAVAILABLE: .* whether it speaks TLS"):
        make_client(encrypted.address, timeout=1.5).embed([b"x"])


def test_unusable_files(make_client, tmp_path):
    with pytest.raises(ValueError, match=r"root_certificates='.*gone.pem' cannot be read: No such"):
        make_client(tls=Tls(tmp_path / "gone.pem"))
    (tmp_path / "der.crt").write_bytes(b"0\x82")
    with pytest.raises(ValueError, match=r"root_certificates='.*der.crt' is no PEM file: it has"):
        make_client(tls=Tls(tmp_path / "der.crt"))
    with pytest.raises(ValueError, match="certificate and its key go together; give both"):
        make_client(tls=Tls(certificate=tmp_path / "client.pem"))


def test_a_server_that_comes_back_is_found(make_client):
    server = FakeServer()
    with server.running():
        client = make_client(server.address)
        client.embed([b"x"])
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(ServingError, match="UNAVAILABLE"):
        make_client(server.address, timeout=2).embed([b"x"])
    with server.running(port=port):
        np.testing.assert_array_equal(client.embed([b"y"]), [FakeServer.embedding(b"y")])
