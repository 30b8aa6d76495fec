import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml

FILES = ["docker-compose.yml", "docker-compose.gpu.yml"]


@pytest.mark.parametrize("file", FILES)
def test_file_follows_the_compose_specification(serving, file):
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
        + [str(serving / file)],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout


def test_nothing_is_open_to_other_hosts(compose):
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_mounts_are_there(serving, compose):
    for service in compose["services"].values():
        for mount in service["volumes"]:
            source = mount["source"] if isinstance(mount, dict) else mount.split(":")[0]
            if source.startswith("./"):
                assert (serving / source).exists(), source
            else:  # models are exported first, and named volumes declared
                assert source == "../models" or source in compose["volumes"]


def test_gpu_is_put_on_top(serving, compose):
    override = yaml.safe_load((serving / FILES[1]).read_text())
    assert override["services"].keys() == {"serving"}
    image = compose["services"]["serving"]["image"]
    assert override["services"]["serving"]["image"] == f"{image}-gpu"


@pytest.fixture
def rest_server():
    """Answers each GET with the code that it is told, and keeps the paths."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.paths.append(self.path)
            self.send_response(self.server.code)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.paths = []
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(("code", "healthy"), [(200, True), (404, False), (400, False)])
def test_health_is_a_stable_version_that_is_available(compose, models, rest_server, code, healthy):
    rest_server.code = code
    kind, *command = compose["services"]["serving"]["healthcheck"]["test"]
    assert kind == "CMD"
    script = command[-1].replace("$$", "$")
    assert "/8501\n" in script
    command[-1] = script.replace("/8501\n", f"/{rest_server.server_port}\n")
    ended = subprocess.run(command, timeout=20)
    assert (ended.returncode == 0) == healthy
    (model,) = models
    assert rest_server.paths == [f"/v1/models/{model}/labels/stable/metadata"]


def test_nobody_there_is_not_healthy(compose):
    *command, script = compose["services"]["serving"]["healthcheck"]["test"][1:]
    script = script.replace("$$", "$").replace("/8501\n", "/1\n")
    assert subprocess.run([*command, script], capture_output=True, timeout=20).returncode != 0
