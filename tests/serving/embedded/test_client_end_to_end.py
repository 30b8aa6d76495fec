"""The package's own client, asking the embedded server."""

import asyncio

import numpy as np
import pytest

from keras_distill.serving.client.async_client import AsyncEmbeddingClient
from keras_distill.serving.client.client import EmbeddingClient
from keras_distill.serving.client.errors import ServingError
from keras_distill.serving.client.golden_pairs import read_golden
from keras_distill.serving.client.rest_client import RestClient
from keras_distill.serving.client.smoke import smoke_test
from keras_distill.serving.export.session_model import SessionModel


@pytest.fixture(scope="module")
def client(embedded):
    with EmbeddingClient(embedded.grpc, model="student") as client:
        yield client


def test_paths_bytes_and_arrays(client, exported, encode, tmp_path):
    files = [encode(40, 45), encode(64, 50, "PNG"), encode(33, 90)]
    (tmp_path / "1.jpg").write_bytes(files[2])
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    vectors = client.embed(
        [files[0], files[1], tmp_path / "1.jpg", pixels, pixels.astype(np.float64)]
    )
    requests = {
        "serving_default": {"image_bytes": np.array(files, object)},
        "serve_uint8": {"image": pixels[None]},
    }
    with SessionModel(exported) as model:
        decoded, whole = (
            model.call(name, request, ["embedding"])["embedding"]
            for name, request in requests.items()
        )
    np.testing.assert_allclose(vectors, np.vstack([decoded, whole, whole]), atol=1e-5)


def test_a_bad_image_among_32(client, encode):
    images = [encode(seed=seed) for seed in range(32)]
    whole = client.embed(images)
    images[19] = images[19][:200]
    result = client.embed(images, on_error="return")
    assert [error.index for error in result.errors] == [19]
    assert "Invalid JPEG data" in result.errors[0].message
    others = np.arange(32) != 19
    np.testing.assert_allclose(result.vectors[others], whole[others], atol=1e-5)
    assert result.version == 1


def test_model_metadata_of_the_server(client):
    model = client.connect()
    assert (model.version, model.dim, model.image_shape) == (1, 32, (32, 32, 3))
    assert [(state.version, state.state) for state in client.status()] == [(1, "AVAILABLE")]
    assert client.wait(1).state == "AVAILABLE"
    tested = smoke_test(client)
    assert (tested.faults, tested.warnings) == ((), ())


def test_versions_and_labels_that_are_not_there(embedded, encode):
    for choice, message in (
        ({"version": 9}, r"NOT_FOUND: Servable not found for request: Specific\(student, 9\)"),
        ({"label": "stable"}, r"INVALID_ARGUMENT: Unrecognized servable version label: stable"),
    ):
        with (
            EmbeddingClient(embedded.grpc, model="student", **choice) as client,
            pytest.raises(ServingError, match=message),
        ):
            client.embed([encode()])


def test_asyncio(embedded, encode):
    async def embed():
        async with AsyncEmbeddingClient(embedded.grpc, model="student", batch_size=3) as client:
            return await client.embed([encode(seed=seed) for seed in range(10)])

    vectors = asyncio.run(embed())
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert len(np.unique(vectors.round(4), axis=0)) == 10


def test_golden_requests_by_grpc_and_by_rest(client, embedded, exported):
    rest = RestClient(embedded.rest, timeout=60)
    for golden in (read_golden(exported), []):
        result = smoke_test(client, golden, rest)
        assert (result.faults, result.warnings) == ((), ())
        assert result.rest.keys() == {"serving_default", "serve_uint8", "serve_float"}
        assert min((*result.cosines.values(), *result.rest.values())) > 0.9999


def test_the_metrics_tell_the_models(embedded):
    assert "student" in RestClient(embedded.rest, timeout=60).model_names()
