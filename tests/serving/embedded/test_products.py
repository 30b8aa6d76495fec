"""A model with two outputs, served by the embedded server."""

import asyncio
import base64
import json

import numpy as np
import pytest

from keras_distill.serving.client.async_client import AsyncEmbeddingClient
from keras_distill.serving.client.client import EmbeddingClient
from keras_distill.serving.client.errors import ImagesRefused, ModelMismatch
from keras_distill.serving.client.golden_pairs import read_golden
from keras_distill.serving.client.rest_client import RestClient
from keras_distill.serving.client.smoke import smoke_test
from keras_distill.serving.export.bundle import export_model

SHAPES = {"density": (4, 4, 1), "logits": (5,)}


@pytest.fixture(scope="module")
def model(two_outputs):
    return two_outputs()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    return export_model(model, tmp_path_factory.mktemp("models"), name="crowd")


@pytest.fixture(scope="module")
def server(folder, server_process):
    with server_process(f"--models={folder.parents[1]}") as server:
        yield server


@pytest.fixture(params=["blocking", "asyncio"])
def predict(request, server):
    """Calls `predict` of either client."""

    async def asynchronously(options, *arguments, **more):
        async with AsyncEmbeddingClient(server.grpc, model="crowd", **options) as client:
            return await client.predict(*arguments, **more)

    def call(*arguments, options=None, **more):
        if request.param == "asyncio":
            return asyncio.run(asynchronously(options or {}, *arguments, **more))
        with EmbeddingClient(server.grpc, model="crowd", **options or {}) as client:
            return client.predict(*arguments, **more)

    return call


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), np.uint8)


def test_predict_returns_what_the_keras_model_returns(predict, model, pixels):
    expected = model(pixels)
    items = [*pixels[:4], *pixels[4:].astype(np.float32)]
    outputs = predict(items, options={"batch_size": 2})
    assert {name: rows.shape[1:] for name, rows in outputs.items()} == SHAPES
    for name, rows in outputs.items():
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, expected[name], rtol=1e-4, atol=1e-5)


def test_one_output_only(predict, model, pixels):
    outputs = predict(pixels, outputs=["density"])
    assert list(outputs) == ["density"]
    np.testing.assert_allclose(outputs["density"], model(pixels)["density"], rtol=1e-4, atol=1e-5)


def test_a_bad_image_costs_the_others_nothing(predict, encode):
    files = [encode(seed=seed) for seed in range(5)]
    whole = predict(files)
    files[3] = b"no image"
    result = predict(files, on_error="return")
    assert [error.index for error in result.errors] == [3]
    assert (result.count, result.done, result.version) == (5, 4, 1)
    others = np.arange(5) != 3
    for name, rows in result.outputs.items():
        np.testing.assert_allclose(rows[others], whole[name][others], rtol=1e-4, atol=1e-5)
        assert np.isnan(rows[3]).all()
    with pytest.raises(ImagesRefused, match="1 of 5 images have no answer: item 3: ") as refused:
        predict(files)
    assert refused.value.result.outputs.keys() == SHAPES.keys()


def test_embed_says_which_outputs_there_are(server, predict, pixels):
    with EmbeddingClient(server.grpc, model="crowd") as client:
        served = client.connect()
        assert (served.dim, served.outputs) == (None, SHAPES)
        with pytest.raises(
            ModelMismatch,
            match=r"'crowd', version 1, has no output 'embedding', only density, logits: `predict`",
        ):
            client.embed(pixels)
    with pytest.raises(ModelMismatch, match=r"has no output 'score', only density, logits\.$"):
        predict(pixels, outputs=["logits", "score"])
    with pytest.raises(ValueError, match=r"outputs=\[\] is empty; give names, or None for all"):
        predict(pixels, outputs=[])
    with pytest.raises(TypeError, match=r"outputs='logits' is of type str; give a list of names"):
        predict(pixels, outputs="logits")
    with (
        EmbeddingClient(server.grpc, model="crowd", dim=8) as client,
        pytest.raises(ModelMismatch, match=r"gives no embeddings, not of dim=8"),
    ):
        client.connect()


def test_rest_returns_a_row_of_named_outputs(server, ask, model, encode, pixels):
    body = {"instances": pixels[:2].tolist(), "signature_name": "serve_uint8"}
    status, _, answer = ask(server.rest, "/v1/models/crowd:predict", json.dumps(body).encode())
    assert status == 200
    rows = json.loads(answer)["predictions"]
    for name, expected in model(pixels[:2]).items():
        got = np.array([row[name] for row in rows])
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    body = {"inputs": {"image_bytes": [{"b64": base64.b64encode(encode()).decode()}]}}
    _, _, answer = ask(server.rest, "/v1/models/crowd:predict", json.dumps(body).encode())
    outputs = json.loads(answer)["outputs"]
    assert {name: np.shape(value) for name, value in outputs.items()} == {
        name: (1, *shape) for name, shape in SHAPES.items()
    }


def test_smoke_by_grpc_and_by_rest(server, folder):
    rest = RestClient(server.rest, timeout=60)
    with EmbeddingClient(server.grpc, model="crowd") as client:
        for golden in (read_golden(folder), []):
            result = smoke_test(client, golden, rest)
            assert result.faults == ()
            assert result.lengths == {}
            assert len(result.rest) == 6
            assert min((*result.rest.values(), *result.golden.values())) > 0.999


@pytest.mark.slow
def test_smoke_notices_another_model(server, two_outputs, tmp_path):
    other = export_model(two_outputs(seed=1), tmp_path, name="crowd")
    with EmbeddingClient(server.grpc, model="crowd") as client:
        faults = smoke_test(client, read_golden(other)).faults
    assert len(faults) == 6
    assert all("answered otherwise than by the export: closeness" in fault for fault in faults)


def test_the_command_writes_outputs_and_resumes(server, here, model, encode, tmp_path):
    images = tmp_path / "photos"
    images.mkdir()
    for number in range(3):
        (images / f"{number}.png").write_bytes(encode(37, 37, "PNG", seed=number))
    (images / "bad.jpg").write_bytes(b"no image")
    address, out = f"--address={server.grpc}", tmp_path / "answers.npz"
    command = ("client", "predict", address, "--model=crowd", f"--images={images}", f"--out={out}")
    ended = here(*command)
    assert ended.code == 4
    assert "1 of 4 images have no answer; " in ended.err
    summary = json.loads(ended.out)
    assert summary["outputs"] == {name: list(shape) for name, shape in SHAPES.items()}
    with np.load(out) as written:
        assert written["ids"].tolist() == ["0.png", "1.png", "2.png"]
        assert {name: written[name].shape[1:] for name in SHAPES} == SHAPES
        with EmbeddingClient(server.grpc, model="crowd") as client:
            expected = client.predict([images / f"{number}.png" for number in range(3)])
        for name, rows in expected.items():
            np.testing.assert_allclose(written[name], rows, rtol=1e-4, atol=1e-5)
    ended = here(*command, "--output=logits")
    assert json.loads(ended.out)["outputs"] == {"logits": [5]}
    with np.load(out) as written:
        assert sorted(written) == ["ids", "logits"]
    ended = here(*command[:-1], f"--out={tmp_path / 'answers.npy'}")
    assert (ended.code, ended.err.count("must end in .npz.")) == (2, 1)
