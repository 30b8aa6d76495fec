import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from keras_distill.serving.client.client import EmbeddingClient
from keras_distill.serving.client.golden_pairs import GoldenPair
from keras_distill.serving.client.predict_requests import predict_request
from keras_distill.serving.client.rest_client import RestClient
from keras_distill.serving.client.smoke import smoke_test

HEIGHT, WIDTH = 8, 6


def crop(file):
    """The centre of a file, with 7/8 of each side, as an export sees it."""
    sides = [round(side * 7 / 8) for side in (file.width, file.height)]
    left, top = (file.width - sides[0]) // 2, (file.height - sides[1]) // 2
    return file.crop((left, top, left + sides[0], top + sides[1]))


def shrink(file):
    """The whole file at the size of the model, as another exporter may embed it."""
    return file.resize((WIDTH, HEIGHT))


def look(image, dim, decode=crop):
    """Embeds the colours of an image."""
    if isinstance(image, bytes):
        image = np.asarray(decode(Image.open(io.BytesIO(image))))
        assert image.shape == (HEIGHT, WIDTH, 3)
    vector = np.asarray(image, np.float64)[1::4, 1::3].ravel() - 128
    return np.float32(vector / np.linalg.norm(vector))[:dim]


@pytest.fixture
def smoke(served):
    served.dim = 12
    for signature in served.signatures.signature_def.values():
        signature.outputs["embedding"].tensor_shape.dim[1].size = served.dim
    served.embedding = look

    def run(*given):
        with EmbeddingClient(served.address, model="birds") as client:
            return smoke_test(client, *given)

    return run


@pytest.fixture
def golden():
    """Requests with the answers of that server."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, 3), np.uint8)
    vectors = np.stack([look(image, 12) for image in pixels])
    return [
        GoldenPair(predict_request("serve_uint8", pixels), vectors),
        GoldenPair(predict_request("serve_float", pixels.astype(np.float32)), vectors),
    ]


@pytest.fixture
def rest():
    """A server of REST; `answer(instances)` gives the predictions, or a status and a text."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            server.seen.append((self.path, json.loads(body), self.headers))
            answer = server.answer(json.loads(body)["instances"])
            status, text = answer if isinstance(answer, tuple) else (200, json.dumps(answer))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("localhost", 0), Handler) as server:
        server.seen = []
        server.answer = lambda instances: {
            "predictions": [look(np.array(row), 12).tolist() for row in instances]
        }
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def rest_client(rest):
    return RestClient(
        f"localhost:{rest.server_port}", timeout=30, metadata=[("x-api-key", "sesame")]
    )


def test_a_good_model_has_no_faults(smoke, served):
    result = smoke()
    assert (result.faults, result.warnings) == ((), ())
    assert result.model.dim == 12
    assert {request.model_spec.signature_name for request in served.requests} == set(result.lengths)
    assert list(result.lengths.values()) == pytest.approx([1, 1, 1], abs=1e-6)
    assert min(result.cosines.values()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("spoil", "faults", "warnings"),
    [
        (
            lambda v, kind: v * 2 if kind == "serve_float" else v,
            ["serve_float has length 2.0000"],
            0,
        ),
        (lambda v, kind: v[::-1] if kind == "serving_default" else v, [], 1),
        (
            lambda v, kind: v[::-1] if kind == "serve_float" else v,
            ["serve_uint8, serve_float disagree: cosine "],
            0,
        ),
        (lambda v, kind: v * 0, ["has length 0.0000, not 1"] * 3 + ["cosine 0.0000 <"], 1),
    ],
)
def test_faults(smoke, served, spoil, faults, warnings):
    def change(response):
        values = response.outputs["embedding"].float_val
        values[:] = spoil(np.array(values), response.model_spec.signature_name)

    served.change = change
    result = smoke()
    assert len(result.faults) == len(faults)
    assert all(fault in text for fault, text in zip(faults, result.faults, strict=True))
    assert len(result.warnings) == warnings
    assert all("serving_default, serve_uint8 disagree" in text for text in result.warnings)


def test_swapped_channels_and_transposition_do_not_go_unnoticed(smoke, served):
    for spoil in (lambda image: image[:, :, ::-1], lambda image: image[::-1]):
        served.embedding = lambda image, dim, spoil=spoil: look(
            image if isinstance(image, bytes) else spoil(image), dim
        )
        (warning,) = smoke().warnings
        assert "serving_default, serve_uint8 disagree: cosine " in warning
        assert "give `golden`" in warning


def test_another_crop_is_no_fault_and_golden_requests_settle_it(smoke, served, golden):
    served.embedding = lambda image, dim: look(image, dim, shrink)
    result = smoke()
    assert result.faults == ()
    assert result.cosines["serving_default, serve_uint8"] < 0.9999
    assert len(result.warnings) == 1
    result = smoke(golden)
    assert (result.faults, result.warnings) == ((), ())


def test_an_image_that_is_refused_is_a_fault(smoke, served):
    files = predict_request("serving_default", [b"bad"])
    result = smoke([GoldenPair(files, np.full((1, 12), 12**-0.5, np.float32))])
    assert result.faults == (
        "golden serving_default: item 0: Unknown image file format. One of JPEG, PNG, GIF, BMP, "
        "WebP required",
    )


def test_values_by_rest_are_compared(smoke, golden, rest, rest_client):
    result = smoke(golden, rest_client)
    assert result.faults == ()
    assert result.rest == pytest.approx({"serve_uint8": 1, "serve_float": 1}, abs=1e-6)
    assert [(path, body["signature_name"]) for path, body, _ in rest.seen] == (
        [("/v1/models/birds:predict", "serve_uint8")] * 2
        + [("/v1/models/birds:predict", "serve_float")] * 2
    )
    assert rest.seen[0][2]["x-api-key"] == "sesame"


def test_without_golden_requests_rest_is_compared_with_grpc(smoke, rest, rest_client):
    def answer(instances):
        if isinstance(instances[0], dict):
            return {"predictions": [{"embedding": [0.5] * 12}]}
        return {"predictions": [look(np.array(row), 12).tolist() for row in instances]}

    rest.answer = answer
    result = smoke((), rest_client)
    (fault,) = [fault for fault in result.faults if "differs" not in fault]
    assert fault.startswith("REST, serving_default: ")
    assert set(result.rest) == {"serving_default", "serve_uint8", "serve_float"}


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ([[float("nan")] + [0.1] * 11], "1 of 2 embeddings are not finite"),
        ([[float("inf")] * 12], "1 of 2 embeddings are not finite"),
        ([[None] * 12], "1 of 2 embeddings are not finite"),
        ([[8e35] * 12], "the golden requests of serve_uint8 are answered otherwise"),
        ([look(np.eye(8, 6)[..., None] * [9, 99, 250], 12).tolist()], "are answered otherwise"),
        ([[0.0] * 12], "are answered otherwise than by the export: cosine 0.0"),
        ([[1e300] * 12], "are answered otherwise than by the export: cosine "),
        ([[0.1] * 11], "the predictions are no embeddings of one width"),
        ([["a"] * 12], "the predictions are no embeddings of one width"),
        ([], "answered with shape (1, 12), not (2, 12)"),
        ([[0.1] * 12] * 2, "answered with shape (3, 12), not (2, 12)"),
    ],
)
def test_wrong_values_by_rest_are_faults(smoke, golden, rest, rest_client, answer, fault):
    """Only the second image is answered wrongly, with HTTP status 200."""

    def predict(instances):
        if len(rest.seen) == 2:
            return {"predictions": answer}
        return {"predictions": [look(np.array(row), 12).tolist() for row in instances]}

    rest.answer = predict
    result = smoke(golden, rest_client)
    assert result.faults[0].startswith("REST, serve_uint8: ")
    assert fault in result.faults[0]
    assert not any("serve_float" in text for text in result.faults)
    assert result.rest["serve_float"] == pytest.approx(1, abs=1e-6)


def test_vectors_of_another_length_by_rest_are_faults(smoke, golden, rest, rest_client):
    rest.answer = lambda instances: {
        "predictions": [(look(np.array(row), 12) * 1.01).tolist() for row in instances]
    }
    faults = smoke(golden, rest_client).faults
    assert faults == (
        "REST, serve_uint8: the length of an embedding differs by 0.01",
        "REST, serve_float: the length of an embedding differs by 0.01",
    )


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ((404, '{ "error": "Servable not found" }'), 'HTTP status 404: { "error": "Servable not'),
        ((200, "<HTML>hello</HTML>"), "answers no embeddings (JSONDecodeError: Expecting value"),
        ((200, '{"outputs": []}'), "answers no embeddings (KeyError: 'predictions')"),
        ((200, "[1]"), "answers no embeddings (TypeError:"),
        ((200, '{"predictions": null}'), "answers no embeddings (TypeError:"),
        ((200, '{"predictions": [0.1, 0.2]}'), "the predictions have 1 dimensions, not 2"),
    ],
)
def test_refusals_by_rest_are_faults(smoke, golden, rest, rest_client, answer, fault):
    rest.answer = lambda _: answer
    faults = smoke(golden, rest_client).faults
    assert len(faults) == 2
    assert all(fault in text for text in faults)


def test_a_closed_rest_port_is_a_fault(smoke, golden):
    faults = smoke(golden, RestClient("localhost:1", timeout=5)).faults
    assert len(faults) == 2
    assert "http://localhost:1/v1/models/birds:predict does not answer: Connection r" in faults[0]


@pytest.mark.parametrize("address", ["localhost", "", ":8501", "ftp://box:1", "box:x", "box:99999"])
def test_unusable_rest_addresses(address):
    with pytest.raises(
        ValueError, match=r"`address='.*'` is no address; give host:port of the REST"
    ):
        RestClient(address, timeout=1)
