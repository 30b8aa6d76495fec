import json
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import filelock
import grpc
import numpy as np
import pytest
from fake_server import FakeServer

from keras_distill.serving.client.golden_pairs import GoldenPair, write_golden
from keras_distill.serving.client.predict_requests import predict_request
from keras_distill.teachers.vector_file import load_vectors

CODES = grpc.StatusCode


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    for name in ("b/2.png", "a/1.jpg", "c.JPG", "bäume/3.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture
def client(here, served):
    def run(verb, *flags):
        return here("client", verb, f"--address={served.address}", "--model=birds", *flags)

    return run


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_embed_in_a_process_without_tensorflow(early, served, pictures, tmp_path):
    out = tmp_path / "new" / "vectors.npz"
    ended = early(
        "client",
        "embed",
        f"--address={served.address}",
        "--model=birds",
        f"--images={pictures}",
        f"--out={out}",
    )
    assert (ended.code, ended.err) == (0, "")
    summary = json.loads(ended.out)
    assert summary.pop("seconds") > 0
    assert summary == {
        "out": str(out),
        "model": "birds",
        "version": 1,
        "dim": 4,
        "images": 4,
        "reused": 0,
        "refused": 0,
    }
    names = ["a/1.jpg", "b/2.png", "bäume/3.jpg", "c.JPG"]
    with np.load(out) as written:
        assert written["ids"].tolist() == names
        np.testing.assert_array_equal(
            written["vectors"], [FakeServer.embedding(name.encode()) for name in names]
        )
    assert len(load_vectors(out)) == 4
    assert [file.name for file in out.parent.iterdir()] == ["vectors.npz"]


def test_embed_writes_a_table_of_two_files(client, pictures, tmp_path):
    out = tmp_path / "vectors.npy"
    assert client("embed", f"--images={pictures}", f"--out={out}").code == 0
    assert (tmp_path / "vectors.ids.txt").read_text("utf-8").splitlines() == [
        "a/1.jpg",
        "b/2.png",
        "bäume/3.jpg",
        "c.JPG",
    ]
    np.testing.assert_array_equal(np.load(out)[1], FakeServer.embedding(b"b/2.png"))
    assert len(load_vectors(out)) == 4


def test_embed_goes_around_bad_images(client, pictures, tmp_path):
    (pictures / "b" / "2.png").write_bytes(b"bad")
    (pictures / "c.JPG").write_bytes(b"")
    out, errors = tmp_path / "vectors.npz", tmp_path / "vectors.errors.jsonl"
    ended = client("embed", f"--images={pictures}", f"--out={out}")
    assert ended.code == 4
    assert f"2 of 4 images have no embedding; {errors} lists them. The first: " in ended.err
    assert json.loads(ended.out)["refused"] == 2
    with np.load(out) as written:
        assert written["ids"].tolist() == ["a/1.jpg", "bäume/3.jpg"]
        np.testing.assert_array_equal(
            written["vectors"][1], FakeServer.embedding("bäume/3.jpg".encode())
        )
    assert [(line["index"], line["id"]) for line in lines(errors)] == [(1, "b/2.png"), (3, "c.JPG")]
    assert lines(errors)[0]["error"].startswith("Unknown image file format")
    assert lines(errors)[1]["error"] == "no bytes"

    (pictures / "b" / "2.png").write_bytes(b"good")
    (pictures / "c.JPG").write_bytes(b"good")
    assert client("embed", f"--images={pictures}", f"--out={out}").code == 0
    assert not errors.exists()


def test_embed_single_files_in_small_requests(client, served, pictures, tmp_path):
    files = [str(pictures / "c.JPG"), str(pictures / "a" / "1.jpg")]
    out = tmp_path / "vectors.npz"
    given = [f"--image={file}" for file in files]
    ended = client("embed", *given, f"--out={out}", "--batch_size=1", "--in_flight=1", "--json=-")
    assert json.loads(ended.out)["images"] == 2
    with np.load(out) as written:
        assert written["ids"].tolist() == files
    assert len(served.requests) == 2


def test_a_failing_server_leaves_nothing(client, served, pictures, tmp_path):
    served.failures.extend([(CODES.INTERNAL, "no luck")] * 2)
    out = tmp_path / "vectors.npz"
    ended = client("embed", f"--images={pictures}", f"--out={out}")
    assert ended.code == 1
    assert ended.err.startswith("client: model 'birds' at localhost:")
    assert "INTERNAL: no luck" in ended.err
    assert not out.exists()


def test_predict_in_small_requests_resumes(client, served, pictures, tmp_path):
    served.add_output("density", (3, 2, 1))
    served.add_output("score", (), instead_of="embedding")
    out = tmp_path / "answers.npz"
    flags = (f"--images={pictures}", f"--out={out}", "--batch_size=1", "--in_flight=1")

    def change(response):
        if len(served.requests) == 2:
            served.failures.append((CODES.INTERNAL, "no luck"))

    served.change = change
    ended = client("predict", *flags)
    assert ended.code == 1
    assert "2 of 4 answers are kept in" in ended.err
    assert not out.exists()
    ended = client("predict", *flags)
    assert ended.code == 0
    assert "2 of 4 answers are reused from" in ended.err
    summary = json.loads(ended.out)
    assert summary.pop("seconds") > 0
    assert summary == {
        "out": str(out),
        "model": "birds",
        "version": 1,
        "outputs": {"density": [3, 2, 1], "score": []},
        "images": 4,
        "reused": 2,
        "refused": 0,
    }
    names = ["a/1.jpg", "b/2.png", "bäume/3.jpg", "c.JPG"]
    with np.load(out) as written:
        assert written["ids"].tolist() == names
        for output in ("density", "score"):
            rows = np.stack([served.output(name.encode(), output) for name in names])
            np.testing.assert_array_equal(written[output], rows)
    assert not out.with_name("answers.npz.partial").exists()


def test_embed_of_a_model_without_embedding(client, served, pictures, tmp_path):
    served.add_output("score", (), instead_of="embedding")
    ended = client("embed", f"--images={pictures}", f"--out={tmp_path / 'vectors.npz'}")
    assert ended.code == 1
    assert "has no output 'embedding', only score: `predict` returns these." in ended.err
    assert client("status", "--output=score").code == 2


@pytest.fixture
def outage(client, served, pictures, tmp_path):
    """Embeds one image a request; after two, the server fails until it is told not to."""

    def change(response):
        if len(served.requests) == 2:
            served.failures.append((CODES.INTERNAL, "no luck"))

    served.change = change
    flags = [f"--images={pictures}", f"--out={tmp_path / 'vectors.npz'}"]

    def run(*more):
        return client("embed", *flags, "--batch_size=1", "--in_flight=1", *more)

    ended = run()
    assert ended.code == 1
    return run, ended


def embedded_images(served):
    return [
        bytes(image)
        for request in served.requests
        for image in request.inputs["image_bytes"].string_val
    ]


def test_a_command_that_failed_resumes(outage, served, pictures, tmp_path):
    run, ended = outage
    out, kept = tmp_path / "vectors.npz", tmp_path / "vectors.npz.partial"
    assert ended.err.startswith("client: model 'birds' at localhost:")
    assert f"INTERNAL: no luck. 2 of 4 embeddings are kept in {kept}; the same command" in ended.err
    assert not out.exists()
    before = len(served.requests)
    ended = run()
    assert (ended.code, ended.err) == (0, f"client: 2 of 4 embeddings are reused from {kept}.\n")
    assert json.loads(ended.out)["reused"] == 2
    # One image that is there already is embedded again, to see that it is the same model.
    names = ["a/1.jpg", "b/2.png", "bäume/3.jpg", "c.JPG"]
    assert embedded_images(served)[before:] == [names[i].encode() for i in (0, 2, 3)]
    with np.load(out) as written:
        assert written["ids"].tolist() == names
        np.testing.assert_array_equal(
            written["vectors"], [FakeServer.embedding(name.encode()) for name in names]
        )
    assert not kept.exists()
    assert "reused from" not in run().err


def test_only_unchanged_images_are_reused(outage, served, pictures, tmp_path):
    run, _ = outage
    (pictures / "a" / "1.jpg").write_bytes(b"another image")
    ended = run()
    assert "1 of 4 embeddings are reused" in ended.err
    assert "1 are of files that changed or are not given" in ended.err
    with np.load(tmp_path / "vectors.npz") as written:
        np.testing.assert_array_equal(written["vectors"][0], FakeServer.embedding(b"another image"))


def test_a_second_failure_keeps_what_both_calls_received(outage, served, tmp_path):
    run, _ = outage
    served.change = lambda response: (
        len(served.requests) == 4 and served.failures.append((CODES.INTERNAL, "again"))
    )
    ended = run()
    assert ended.code == 1
    assert "INTERNAL: again. 3 of 4 embeddings are kept" in ended.err
    served.change = lambda response: None
    assert "3 of 4 embeddings are reused" in run().err


@pytest.mark.parametrize(
    ("spoil", "more", "message"),
    [
        ({"version": 2}, [], "has embeddings of version 1 of 'birds', but the server answers with"),
        ({}, ["--model=birds2"], "has embeddings by the model 'birds', not 'birds2'"),
        (
            {"embedding": lambda image, dim: np.float32([1, 0, 0, 0])},
            [],
            "has embeddings of another model than the one that is served as 'birds' now: 'a/1.jpg'",
        ),
    ],
)
def test_what_another_model_embedded_is_not_completed(
    outage, served, tmp_path, spoil, more, message
):
    run, _ = outage
    for name, value in spoil.items():
        setattr(served, name, value)
    served.name = "birds2" if more else "birds"
    ended = run(*more)
    assert ended.code == 2
    assert message in ended.err
    assert not (tmp_path / "vectors.npz").exists()
    # It can be completed by what it began with, and what the message recommends is possible.
    vars(served).update(version=1, name="birds")
    vars(served).pop("embedding", None)
    ended = run("--version=1") if "version" in spoil else run()
    assert (ended.code, "2 of 4 embeddings are reused" in ended.err) == (0, True)


def test_what_is_left_of_other_images_is_not_dropped(outage, client, pictures, tmp_path):
    run, _ = outage
    out = f"--out={tmp_path / 'vectors.npz'}"
    ended = client("embed", f"--images={pictures / 'a'}", out)
    assert ended.code == 2
    assert "has 2 embeddings, none of them of these images. Give another --out, or" in ended.err
    assert "2 of 4 embeddings are reused" in run().err


def test_a_damaged_part_is_named(outage, tmp_path):
    run, _ = outage
    part, *_ = (tmp_path / "vectors.npz.partial").glob("*.npz")
    part.write_bytes(part.read_bytes()[:-30])
    ended = run()
    assert ended.code == 2
    assert f"{part} cannot be read" in ended.err
    part.unlink()
    assert run().code == 0


def test_two_commands_do_not_share_a_file(outage, tmp_path):
    run, _ = outage
    with filelock.FileLock(tmp_path / "vectors.npz.partial" / ".lock"):
        ended = run()
    assert ended.code == 2
    assert "vectors.npz.partial is in use: another process embeds into the same file" in ended.err


def test_interrupted_after_some_images(served, pictures, tmp_path):
    """The first request is answered, the second hangs."""

    def hang(response):
        served.slow = 60

    served.change = hang
    process = start_embedding(served, pictures, tmp_path, "--batch_size=1", "--in_flight=1")
    while [name for name, *_ in served.calls].count("Predict") < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == (
        "client: 1 of 4 embeddings are kept in vectors.npz.partial; the same command resumes from "
        "there.\nclient: interrupted\n"
    )
    assert process.returncode == 130


def start_embedding(served, pictures, folder, *flags):
    given = [f"--address={served.address}", "--model=birds", f"--images={pictures}", *flags]
    command = [sys.executable, "-m", "keras_distill.client", "embed", *given, "--out=vectors.npz"]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)


def test_interrupted(served, pictures, tmp_path):
    served.slow = 60
    process = start_embedding(served, pictures, tmp_path)
    while not any(name == "Predict" for name, *_ in served.calls):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == "client: interrupted\n"
    assert process.returncode == 130
    assert not list(tmp_path.glob("vectors*"))


def test_headers_version_and_label_go_along(client, served, tmp_path):
    (tmp_path / "secret.flags").write_text("--metadata=x-api-key=a=b\n")
    assert client("status", f"--flagfile={tmp_path / 'secret.flags'}", "--label=stable").code == 0
    ((_, metadata, _),) = served.calls
    assert ("x-api-key", "a=b") in metadata


def test_status(client, served, tmp_path):
    served.states = [(1, 30, 0, ""), (2, 50, 3, "no warm-up")]
    ended = client("status", f"--json={tmp_path / 'status.json'}")
    assert ended.code == 0
    assert "AVAILABLE" in ended.out
    assert "INVALID_ARGUMENT: no warm-up" in ended.out
    expected = {
        "model": "birds",
        "versions": [
            {"version": 2, "state": "END", "error": "INVALID_ARGUMENT: no warm-up"},
            {"version": 1, "state": "AVAILABLE", "error": ""},
        ],
    }
    assert json.loads((tmp_path / "status.json").read_text()) == expected
    assert json.loads(client("status", "--json=-").out) == expected
    served.states = [(1, 20, 0, "")]
    assert client("status").code == 1


def test_wait(client, served):
    ended = client("wait", "--limit=5")
    assert (ended.code, ended.out) == (
        0,
        f"model 'birds' at {served.address}: version 1 AVAILABLE\n",
    )
    assert json.loads(client("wait", "--json=-").out)["version"] == 1
    served.states = []
    ended = client("wait", "--limit=0.1")
    assert ended.code == 1
    assert "was not available within 0.1 s" in ended.err


def test_wait_tells_the_state_it_saw_before_the_server_hung(client, served):
    served.states = [(2, 20, 0, "")]
    answer, calls = served.GetModelStatus, []

    def hang(request, context):
        calls.append(request)
        if len(calls) > 1:
            time.sleep(0.6)
        return answer(request, context)

    served.GetModelStatus = hang
    ended = client("wait", "--limit=2", "--timeout=0.3")
    assert ended.code == 1
    assert "was not available within 2 s: version 2 LOADING; then DEADLINE_EXCEEDED" in ended.err


def test_smoke_tells_what_is_wrong(client, served):
    served.embedding = lambda image, dim: np.full(dim, 0.5, np.float32)
    ended = client("smoke")
    assert (ended.code, ended.err) == (0, "")
    assert "length of serve_float" in ended.out
    assert "8×6" in ended.out
    served.embedding = FakeServer.embedding
    ended = client("smoke", "--json=-")
    assert ended.code == 0
    assert "client: warning: serving_default, serve_uint8 disagree: cosine" in ended.err
    result = json.loads(ended.out)
    assert result["model"]["dim"] == 4
    assert (len(result["warnings"]), result["faults"]) == (1, [])
    served.embedding = lambda image, dim: np.full(dim, 0.6, np.float32)
    ended = client("smoke", "--json=-")
    assert ended.code == 1
    assert len(json.loads(ended.out)["faults"]) == len(ended.err.splitlines()) == 3


def test_smoke_asks_golden_requests(early, client, served, tmp_path):
    served.embedding = lambda image, dim: np.full(dim, 0.5, np.float32)
    files = [b"first", b"second"]
    pixels = np.arange(144, dtype=np.uint8).reshape(1, 8, 6, 3)
    pairs = [
        GoldenPair(predict_request("serving_default", files), np.full((2, 4), 0.5, np.float32)),
        GoldenPair(predict_request("serve_uint8", pixels), np.full((1, 4), 0.5, np.float32)),
        GoldenPair(
            predict_request("serve_float", pixels.astype(np.float32)),
            np.float32([[0.5, 0.5, 0.5, 0.4]]),
        ),
    ]
    write_golden(tmp_path, pairs[:2])
    given = [f"--address={served.address}", "--model=birds", f"--golden={tmp_path}"]
    ended = early("client", "smoke", *given)
    assert (ended.code, ended.err) == (0, "")
    assert "cosine of golden serve_uint8" in ended.out
    sent = served.requests[-1].inputs["image_bytes"].string_val
    assert list(sent) == files

    write_golden(tmp_path, pairs)
    ended = client("smoke", f"--golden={tmp_path}", "--json=-")
    assert ended.code == 1
    assert "client: the golden requests of serve_float are answered otherwise than by" in ended.err
    golden = json.loads(ended.out)["golden"]
    assert golden["serving_default"] == pytest.approx(1)
    assert golden["serve_float"] < 0.9999


@pytest.fixture
def rest():
    """A server of HTTP that answers by path; what it has no answer for, it has not."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers["content-length"] or 0))
            answer = server.answers.get(self.path)
            self.send_response(404 if answer is None else 200)
            self.end_headers()
            self.wfile.write((answer or "Not Found").encode())

        do_POST = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("localhost", 0), Handler) as server:
        server.answers = {}
        server.address = f"localhost:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_smoke_compares_the_values_of_rest(early, client, served, rest, tmp_path):
    served.embedding = lambda image, dim: np.full(dim, 0.5, np.float32)
    known = GoldenPair(predict_request("serving_default", [b"1", b"2"]), np.full((2, 4), 0.5, "f4"))
    write_golden(tmp_path, [known])
    flags = [f"--golden={tmp_path}", f"--rest={rest.address}"]
    path = "/v1/models/birds:predict"
    rest.answers[path] = json.dumps({"predictions": [[0.5] * 4] * 2})
    ended = early("client", "smoke", f"--address={served.address}", "--model=birds", *flags)
    assert (ended.code, ended.err) == (0, "")
    assert "cosine by REST of serving_default" in ended.out
    for rows, fault in (
        ("[[0.5, 0.5, 0.5, 0.5], [0.5, NaN, 0.5, 0.5]]", "1 of 2 embeddings are not finite"),
        ("[[0.5, 0.5, 0.5, 0.5]]", "answered with shape (1, 4), not (2, 4)"),
        ("[[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 8e35]]", "answered otherwise than by the export"),
    ):
        rest.answers[path] = f'{{"predictions": {rows}}}'
        ended = client("smoke", *flags)
        assert ended.code == 1
        assert "client: REST, serving_default: " in ended.err
        assert fault in ended.err
    rest.answers.clear()
    ended = client("smoke", *flags, "--label=stable")
    assert ended.code == 1
    assert "/v1/models/birds/labels/stable:predict: HTTP status 404: Not Found" in ended.err


METRICS = """
# TYPE :tensorflow:cc:saved_model:load_attempt_count counter
:tensorflow:cc:saved_model:load_attempt_count{model_path="/models/birds/1",status="success"} 1
:tensorflow:cc:saved_model:load_attempt_count{model_path="/models/old/7",status="success"} 1
:tensorflow:serving:request_count{model_name="birds",status="OK"} 3
:tensorflow:serving:request_count{model_name="",status="OK"} 3
"""


def test_status_of_all_models(here, served, rest):
    def gone(request, context):
        if request.model_spec.name != "birds":
            context.abort(CODES.NOT_FOUND, "Could not find any versions of model")
        return FakeServer.GetModelStatus(served, request, context)

    served.GetModelStatus = gone
    rest.answers["/monitoring/prometheus/metrics"] = METRICS
    flags = [f"--address={served.address}", f"--rest={rest.address}"]
    ended = here("client", "status", *flags)
    assert ended.code == 0
    assert "model 'birds' at" in ended.out
    assert "AVAILABLE" in ended.out
    assert ended.err == (
        "client: 'old' is in the metrics, but no model is served under this name now.\n"
    )
    found = json.loads(here("client", "status", *flags, "--json=-").out)["models"]
    assert [(model["model"], model["versions"][0]["version"]) for model in found] == [("birds", 1)]

    rest.answers["/monitoring/prometheus/metrics"] = "# nothing\n"
    ended = here("client", "status", *flags)
    assert ended.code == 1
    assert f"metrics at http://{rest.address} tell of no model that {served.address}" in ended.err


def test_status_without_metrics_says_where_the_names_are(here, served, rest):
    for flags, why in (
        ([f"--rest={rest.address}"], "metrics: HTTP status 404: Not Found"),
        (["--rest=localhost:1"], "http://localhost:1/monitoring/prometheus/metrics does not ans"),
        (["--rest=box"], "rest='box' is no address"),
    ):
        ended = here("client", "status", f"--address={served.address}", *flags)
        assert ended.code == 2
        assert why in ended.err
        assert "--model_config_file" in ended.err or "give host:port" in ended.err
    assert not served.calls
    ended = here("client", "status", "--address=127.9.9.9:8500", "--timeout=5")
    assert "http://127.9.9.9:8501" in ended.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["status", "--address=localhost:1"], "--model is required, or --rest=HOST:PORT: TF-S"),
        (["status", "--address=box"], "address='box' has no port"),
        (["status", "--label=stable"], "--label has no effect without --model"),
        (["status", "--model=m", "--rest=box:1"], "--rest finds the models; with --model, leave"),
        (["wait", "--model=m", "--rest=box:1"], "--rest has no effect on wait"),
        (["smoke", "--model=m", "--rest=box"], "rest='box' is no address"),
        (["status", "--address=unix:/run/tfs"], "--model is required, or --rest=HOST:PORT"),
        (["wait", "--model=m", "--limit=0"], "--limit=0.0 is not positive"),
        (["wait"], "--model is required"),
        (["status", "--model=m", "--golden=x"], "--golden has no effect on status"),
        (["smoke", "--model=m", "--golden=nowhere"], "--golden=nowhere has no golden requests"),
        (["status", "--model=m", "--address=box"], "address='box' has no port"),
        (["status", "--model=m", "--out=x.npz"], "--out has no effect on status"),
        (["embed", "--model=m", "--limit=3"], "--limit has no effect on embed"),
        (["embed", "--model=m", "--out=x.npz"], "either --images=FOLDER or --image=FILE"),
        (["embed", "--model=m", "--images=.", "--image=a", "--out=x.npz"], "either --images"),
        (["embed", "--model=m", "--images=nowhere", "--out=x.npz"], "--images=nowhere is not a f"),
        (["embed", "--model=m", "--images=.", "--out=x.csv"], "--out=x.csv must end in .npz or"),
        (["embed", "--model=m", "--images=."], "--out= must end in .npz or .npy"),
        (["embed", "--model=m", "--images={empty}", "--out=x.npz"], "has no JPEG or PNG images"),
        (["wait", "--model=m", "--version=1", "--label=stable"], "version=1 and label='stable'"),
        (["wait", "--model=m", "--metadata=secret"], "--metadata must be KEY=VALUE"),
        (["wait", "--model=m", "--root_certificates=gone.pem"], "'gone.pem' cannot be read"),
        (["wait", "--model=m", "--certificate=gone.pem"], "certificate and its key go together"),
        (["wait", "--model=m", "--json={empty}"], "is a folder; give a file, or -"),
        (["wait", "--model=m", "--timeout=0"], "timeout=0.0 is not positive"),
        (["greet"], "'greet' must be one of embed, predict, match, status,"),
    ],
)
def test_unusable_flags(here, tmp_path, given, message):
    ended = here("client", *(flag.format(empty=tmp_path) for flag in given))
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.startswith("client: ")
    assert "Traceback" not in ended.err


def test_help(early):
    ended = early("client", "--help", fresh=True)
    assert ended.code == 0
    assert "--root_certificates=TEXT" in ended.out


@pytest.fixture
def calibration(tmp_path):
    """The folder of an exported version that knows which similarity means the same."""
    folder = tmp_path / "models" / "birds" / "1"
    (folder / "assets.extra").mkdir(parents=True)
    facts = {"version": 1, "verification": {"data": "pairs", "calibration": {}}}
    facts["verification"]["calibration"] = {"slope": 12.0, "intercept": -3.0}
    (folder / "assets.extra" / "distill.json").write_text(json.dumps(facts))
    return folder


def test_match_answers_with_the_probability(client, served, pictures, calibration, tmp_path):
    two = [str(pictures / name) for name in ("b/2.png", "c.JPG")]
    cosine = float(FakeServer.embedding(b"b/2.png") @ FakeServer.embedding(b"c.JPG"))
    ended = client("match", two[0], f"--calibration={calibration}", two[1], "--json=-")
    assert (ended.code, ended.err) == (0, "")
    told = json.loads(ended.out)
    assert told["images"] == two
    assert told["cosine"] == pytest.approx(cosine, abs=1e-6)
    assert told["distance"] == pytest.approx(np.sqrt(2 - 2 * cosine), abs=1e-5)
    odds = 12 * cosine - 3
    assert told["probability"] == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-6)

    rare = [*two, f"--calibration={calibration}", "--share_of_same=0.01"]
    ended = client("match", *rare)
    expected = 1 / (1 + np.exp(-odds - np.log(0.01 / 0.99)))
    assert f"the same with a probability of {expected:.4f}" in ended.out
    ended = client("match", f"--image={two[0]}", f"--image={two[1]}")
    assert "is not known without --calibration" in ended.out

    served.version = 2
    ended = client("match", *two, f"--calibration={calibration}")
    assert ended.code == 0
    assert "is of version 1, and version 2 answered" in ended.err


def test_match_reads_the_file_of_evaluate(client, pictures, tmp_path):
    file = tmp_path / "verification.json"
    file.write_text(json.dumps({"data": "x", "calibration": {"slope": 5.0, "intercept": 0.0}}))
    two = [str(pictures / "b/2.png")] * 2
    ended = client("match", *two, f"--calibration={file}")
    assert ended.out.startswith("cosine 1.0000, distance 0.000")
    assert "the same with a probability of 0.9933" in ended.out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["a.jpg"], "match compares two images, not 1: match A.jpg B.jpg"),
        (["a.jpg", "b.jpg", "a.jpg"], "match compares two images, not 3"),
        (["a.jpg", "none.jpg"], "--image=none.jpg: there is no such file."),
        (["a.jpg", "b.jpg", "--calibration=none"], "--calibration=none does not exist."),
        (["a.jpg", "b.jpg", "--share_of_same=1"], "--share_of_same=1 must be between 0 and 1"),
        (["a.jpg", "b.jpg", "--out=x.npz"], "--out has no effect on match"),
        (["a.jpg", "b.jpg", "--calibration=a.jpg"], "--calibration=a.jpg cannot be read"),
        (["a.jpg", "b.jpg", "--calibration=c.json"], "does not tell which similarity means the"),
    ],
)
def test_match_that_cannot_be_is_refused(client, tmp_path, monkeypatch, flags, said):
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"\xff\xd8")
    (tmp_path / "c.json").write_text('{"recall": {"1": 0.5}}')
    ended = client("match", *flags)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
