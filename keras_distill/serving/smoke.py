"""Whether a served embedder answers as it should."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from keras_distill.serving.client import EmbeddingClient
from keras_distill.serving.golden_pairs import GoldenPair
from keras_distill.serving.model_contract import ServedModel

_COLOURS = np.array([[[210, 60, 40], [40, 160, 70]], [[50, 70, 200], [230, 210, 60]]], np.uint8)
_LENGTH_TOLERANCE = 1e-3
# A file is cropped and resized on its way to the network, which blurs an edge.
_LEAST_COSINES = {"serve_uint8, serve_float": 0.9999, "serving_default, serve_uint8": 0.99}


@dataclass(frozen=True)
class SmokeResult:
    """What one image gave through each signature.

    Attributes:
        model: What the server says of the model.
        lengths: L2 length of the embedding by signature.
        cosines: Cosine of the embeddings of two signatures.
        golden: By signature, least cosine of the answers to the golden requests with the known
            ones.
        faults: What is not as it should be; empty if all is well.
    """

    model: ServedModel
    lengths: dict[str, float]
    cosines: dict[str, float]
    golden: dict[str, float]
    faults: tuple[str, ...]


def smoke_test(client: EmbeddingClient, golden: Sequence[GoldenPair] = ()) -> SmokeResult:
    """Sends one image through every signature and compares the embeddings.

    The image has a colour in each quarter: cropped around its centre and resized, it stays what it
    is, while swapped channels, transposition, or another range of values make another image.

    Args:
        client: Client of the model.
        golden: Requests whose answers are known, of which each image is asked again.

    Returns:
        Lengths, which must be 1, cosines, which must be close to 1, and what is wrong.

    Raises:
        ServingError: If the server does not answer, or the model is not an embedder.
    """
    model = client.connect()
    height, width = (size or 224 for size in model.image_shape[:2])
    pixels = _quarters(height, width)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    signatures = ("serving_default", "serve_uint8", "serve_float")
    vectors = client.embed([file.getvalue(), pixels, pixels.astype(np.float32)])
    by_signature = dict(zip(signatures, vectors.astype(np.float64), strict=True))
    lengths = {name: float(np.linalg.norm(vector)) for name, vector in by_signature.items()}
    cosines = {
        pair: _cosine(*(by_signature[n] for n in pair.split(", "))) for pair in _LEAST_COSINES
    }
    faults = [
        f"the embedding of {name} has length {length:.4f}, not 1"
        for name, length in lengths.items()
        if not abs(length - 1) <= _LENGTH_TOLERANCE
    ] + [
        f"{pair} disagree: cosine {cosines[pair]:.4f} < {least}"
        for pair, least in _LEAST_COSINES.items()
        if not cosines[pair] >= least
    ]
    known = {}
    for pair in golden:
        known[pair.signature] = pair.cosine(client.embed(pair.images))
        faults += pair.faults(known[pair.signature])
    return SmokeResult(model, lengths, cosines, known, tuple(faults))


def _quarters(height: int, width: int) -> np.ndarray:
    rows, columns = (np.arange(size) * 2 // size for size in (height, width))
    return _COLOURS[rows[:, None], columns]


def _cosine(a: Any, b: Any) -> float:
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norms) if norms else 0.0
