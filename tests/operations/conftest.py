import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from google.protobuf import descriptor_pool, message_factory, text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from keras_distill.serving.client.proto_file import read_proto

SERVING = Path(__file__).parents[2] / "serving"


@pytest.fixture(scope="session")
def serving():
    """The operator's folder."""
    return SERVING


@pytest.fixture(scope="session")
def read_text_proto():
    """Reads a text file by a message of the server."""
    pool = descriptor_pool.DescriptorPool()
    definition = Path(__file__).with_name("server_files.proto")
    pool.Add(read_proto(definition.read_text(), definition.name))

    def read(path, message):
        descriptor = pool.FindMessageTypeByName(f"tensorflow.serving.{message}")
        return text_format.Parse(path.read_text(), message_factory.GetMessageClass(descriptor)())

    return read


@pytest.fixture(scope="session")
def models():
    """The models of models.config, by name."""
    text = (SERVING / "config" / "models.config").read_text()
    config = text_format.Parse(text, ModelServerConfig())
    return {model.name: model for model in config.model_config_list.config}


@pytest.fixture(scope="session")
def compose():
    """docker-compose.yml."""
    return yaml.safe_load((SERVING / "docker-compose.yml").read_text())


@pytest.fixture(scope="session")
def kubernetes():
    """The objects of kubernetes/, by kind."""
    files = sorted((SERVING / "kubernetes").glob("*.yaml"))
    objects = [one for file in files for one in yaml.safe_load_all(file.read_text())]
    assert len({one["kind"] for one in objects}) == len(objects)
    return {one["kind"]: one for one in objects}


@pytest.fixture(scope="session")
def pod(kubernetes):
    """What the Deployment starts."""
    return kubernetes["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="session")
def unit():
    """The directives of the systemd unit, by name, each a list."""
    text = (SERVING / "systemd" / "tensorflow-serving.service").read_text().replace("\\\n", " ")
    directives = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", text, re.M):
        directives.setdefault(name, []).append(value.strip())
    return directives


@pytest.fixture(scope="session")
def flag_lists(compose, pod, unit):
    """The server's flags in the order in which they stand, by where."""
    binary, *flags, extra = shlex.split(unit["ExecStart"][0])
    assert (binary, extra) == ("/usr/bin/tensorflow_model_server", "$EXTRA_FLAGS")
    return {
        "compose": compose["services"]["serving"]["command"],
        "kubernetes": pod["containers"][0]["args"],
        "systemd": flags,
    }


@pytest.fixture(scope="session")
def flags(flag_lists):
    """The server's flags, by name."""
    return dict(flag[2:].split("=", 1) for flag in flag_lists["compose"])


@pytest.fixture(scope="session")
def run_shell():
    """Runs commands of a README in a folder."""

    def run(commands, folder):
        done = subprocess.run(
            ["bash", "-ec", commands], cwd=folder, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr

    return run
