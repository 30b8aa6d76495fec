import importlib.util
import socket

import pytest


@pytest.fixture
def models(tmp_path):
    (tmp_path / "models" / "photos").mkdir(parents=True)
    return tmp_path / "models"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--models is required"),
        (["--models={models}/x"], "x is not a folder; export writes one with --out"),
        (
            ["--models={models}/photos"],
            "photos is one model, with its versions. Models are served from MODELS/NAME/VERSION/"
            "saved_model.pb, where VERSION is a number; give --models={models}.",
        ),
        (
            ["--models={models}/photos/1"],
            "1 is a single SavedModel. Models are served from MODELS/NAME/VERSION/saved_model.pb, "
            "where VERSION is a number; give --models={models}.",
        ),
        (
            ["--models={models}/bare"],
            "bare is a single SavedModel. Models are served from MODELS/NAME/",
        ),
        (["--models={models}", "--model_config=x"], "--model_config=x is not a file"),
        (["--models={models}", "--secret_file=x"], "--secret_file=x cannot be read: No such file"),
        (["--models={models}", "--secret_file={models}/empty"], "must hold one line of printable"),
        (["--models={models}", "--tls_key=x"], "TLS needs both --tls_certificate and --tls_key"),
        (["--models={models}", "--port=65536"], "port"),
        (["--models={models}", "--max_concurrent=0"], "max_concurrent"),
    ],
)
def test_unusable_flags(here, models, flags, message):
    (models / "empty").touch()
    for name in ("photos/1", "bare"):
        (models / name).mkdir(parents=True)
        (models / name / "saved_model.pb").touch()
    ended = here("serve", *(flag.format(models=models) for flag in flags))
    assert (ended.code, ended.out) == (2, "")
    assert message.format(models=models) in ended.err
    assert ended.err.startswith("serve: ")


def test_a_folder_without_models(run_warm_python, here, models):
    """It is waited for; where nobody looks again, that is an error."""
    layout = (
        f"--models={models} holds no model. Models are served from MODELS/NAME/VERSION/saved_model"
    )
    code = """
import sys
from keras_distill import serve
from keras_distill.serving.embedded import server_process
from keras_distill.serving.embedded.server import EmbeddedServer
EmbeddedServer.start = lambda server: sys.exit()
server_process._log.warning = lambda message, *values: print(message % values)
serve.main(serve.COMMAND.parse([f"--models={sys.argv[1]}", "--port=0", "--rest_port=-1"]))
"""
    assert layout in run_warm_python(code, models)
    ended = here("serve", f"--models={models}", "--poll_seconds=0", "--port=0", "--rest_port=-1")
    assert (ended.code, ended.out) == (2, "")
    assert layout in ended.err
    assert "With --poll_seconds=0, the server does not look again." in ended.err


def test_threads_of_an_operation(run_warm_python, models):
    code = """
import sys
import tensorflow as tf
from keras_distill import serve
from keras_distill.serving.embedded.server import EmbeddedServer

def start(server):
    print(tf.config.threading.get_intra_op_parallelism_threads())
    sys.exit()

EmbeddedServer.start = start
serve.main(serve.COMMAND.parse([f"--models={sys.argv[1]}", "--port=0", *sys.argv[2:]]))
"""
    assert run_warm_python(code, models, "--rest_port=-1") == "1\n"
    assert run_warm_python(code, models, "--rest_port=-1", "--intra_op_threads=3") == "3\n"


def test_flags_are_refused_before_tensorflow_is_loaded(early, models):
    ended = early("serve", f"--models={models}", "--model_config=x")
    assert (ended.code, ended.out) == (2, "")
    assert early("serve", "--help", fresh=True).code == 0


def test_a_missing_extra(here, models, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name in ("waitress", "grpc_health") else find(name, *more),
    )
    ended = here("serve", f"--models={models}")
    assert ended.code == 2
    assert "grpcio-health-checking, waitress is not installed; pip install 'keras_dist" in ended.err


@pytest.mark.parametrize(("flag", "other"), [("port", "rest_port"), ("rest_port", "port")])
def test_a_port_in_use(here, models, flag, other):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = here("serve", f"--models={models}", f"--{flag}={port}", f"--{other}=0")
    assert (ended.code, ended.out) == (2, "")
    assert f"--{flag}={port}: cannot listen at 127.0.0.1:{port}; is it in use?" in ended.err


def test_a_configuration_that_cannot_be_used(here, models, tmp_path):
    file = tmp_path / "models.config"
    file.write_text("nonsense")
    ended = here("serve", f"--model_config={file}", "--port=0", "--rest_port=0")
    assert (ended.code, ended.out) == (2, "")
    assert f"--model_config={file} cannot be used: " in ended.err
