import re

import grpc
import numpy as np
from fake_server import FakeServer

from keras_distill.serving.client.channel import Tls
from keras_distill.serving.client.client import EmbeddingClient


def test_certificates_and_file_of_the_readme(serving, tmp_path, run_shell, read_text_proto):
    """Run its commands, and let a server and a client use what they leave behind."""
    folder = tmp_path / "serving" / "config"
    folder.mkdir(parents=True)
    template = "ssl.config.template"
    (folder / template).write_text((serving / "config" / template).read_text())
    blocks = re.findall(r"```sh\n(.*?)```", (serving / "README.md").read_text(), re.S)
    (commands,) = (block for block in blocks if "openssl" in block)
    run_shell(commands, tmp_path)

    assert (folder / "ssl.config").stat().st_mode & 0o077 == 0
    config = read_text_proto(folder / "ssl.config", "SSLConfig")
    authority = tmp_path / "serving" / "tls" / "ca.crt"
    assert config.custom_ca == authority.read_text()
    assert not config.client_verify
    pair = (config.server_key.encode(), config.server_cert.encode())
    with (
        FakeServer().running(grpc.ssl_server_credentials([pair])) as server,
        EmbeddingClient(server.address, model="birds", tls=Tls(authority)) as client,
    ):
        np.testing.assert_array_equal(client.embed([b"x"]), [FakeServer.embedding(b"x")])
