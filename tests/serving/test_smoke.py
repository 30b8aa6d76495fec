import io

import numpy as np
import pytest
from PIL import Image

from keras_distill.serving.client import EmbeddingClient
from keras_distill.serving.smoke import smoke_test


def look(image, dim):
    """Embeds the colours of an image: of its central 7/8, if it is a file."""
    if isinstance(image, bytes):
        file = Image.open(io.BytesIO(image))
        image = np.asarray(
            file.resize(file.size, box=(0.5, 0.5, file.width - 0.5, file.height - 1))
        )
    vector = np.asarray(image, np.float64)[1::4, 1::3].ravel() - 128
    return np.float32(vector / np.linalg.norm(vector))[:dim]


@pytest.fixture
def smoke(served):
    served.dim = 12
    for signature in served.signatures.signature_def.values():
        signature.outputs["embedding"].tensor_shape.dim[1].size = served.dim
    served.embedding = look

    def run():
        with EmbeddingClient(served.address, model="birds") as client:
            return smoke_test(client)

    return run


def test_a_good_model_has_no_faults(smoke, served):
    result = smoke()
    assert result.faults == ()
    assert result.model.dim == 12
    assert {request.model_spec.signature_name for request in served.requests} == set(result.lengths)
    assert list(result.lengths.values()) == pytest.approx([1, 1, 1], abs=1e-6)
    assert min(result.cosines.values()) > 0.99


@pytest.mark.parametrize(
    ("spoil", "faults"),
    [
        (lambda v, kind: v * 2 if kind == "serve_float" else v, ["serve_float has length 2.0000"]),
        (
            lambda v, kind: v[::-1] if kind == "serving_default" else v,
            ["serving_default, serve_uint8 disagree: cosine "],
        ),
        (
            lambda v, kind: v[::-1] if kind == "serve_float" else v,
            ["serve_uint8, serve_float disagree: cosine "],
        ),
        (lambda v, kind: v * 0, ["has length 0.0000, not 1"] * 3 + ["cosine 0.0000 <"] * 2),
    ],
)
def test_faults(smoke, served, spoil, faults):
    def change(response):
        values = response.outputs["embedding"].float_val
        values[:] = spoil(np.array(values), response.model_spec.signature_name)

    served.change = change
    found = smoke().faults
    assert len(found) == len(faults)
    assert all(fault in text for fault, text in zip(faults, found, strict=True))


def test_swapped_channels_and_transposition_do_not_go_unnoticed(smoke, served):
    for spoil in (lambda image: image[:, :, ::-1], lambda image: image[::-1]):
        served.embedding = lambda image, dim, spoil=spoil: look(
            image if isinstance(image, bytes) else spoil(image), dim
        )
        assert any("serving_default, serve_uint8 disagree" in fault for fault in smoke().faults)
