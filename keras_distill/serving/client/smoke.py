"""Whether a served embedder answers as it should."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from keras_distill.serving.client.client import EmbeddingClient
from keras_distill.serving.client.errors import ServingError
from keras_distill.serving.client.golden_pairs import LEAST_GOLDEN_COSINE, GoldenPair, least_cosine
from keras_distill.serving.client.model_contract import ServedModel
from keras_distill.serving.client.model_reference import ModelReference
from keras_distill.serving.client.predict_requests import predict_request
from keras_distill.serving.client.rest_client import RestClient

_COLOURS = np.array([[[210, 60, 40], [40, 160, 70]], [[50, 70, 200], [230, 210, 60]]], np.uint8)
_LENGTH_TOLERANCE = 1e-3
# Of a file the centre is embedded, with this share of its short side, as in evaluation.
_CENTRE_SHARE = 224 / 256
_OF_PIXELS, _OF_FILES = "serve_uint8, serve_float", "serving_default, serve_uint8"


@dataclass(frozen=True)
class SmokeResult:
    """What one image gave through each signature, and what the golden requests gave.

    Attributes:
        model: What the server says of the model.
        lengths: L2 length of the embedding by signature.
        cosines: Cosine of the embeddings of two signatures.
        golden: By signature, least cosine of the answers to the golden requests with the known
            ones.
        rest: By signature, least cosine of the answers by REST with the known ones; with those by
            gRPC if there are no golden requests.
        faults: What is not as it should be; empty if all is well.
        warnings: What may be as it should be, or not.
    """

    model: ServedModel
    lengths: dict[str, float]
    cosines: dict[str, float]
    golden: dict[str, float]
    rest: dict[str, float]
    faults: tuple[str, ...]
    warnings: tuple[str, ...]


def smoke_test(
    client: EmbeddingClient, golden: Sequence[GoldenPair] = (), rest: RestClient | None = None
) -> SmokeResult:
    """Sends one image through every signature, and asks what an export has answered before.

    The image has a colour in each quarter, so that swapped channels, transposition, or another
    range of values make another image. As a file it has a margin, which an export crops: what is
    left are the same pixels. Whether that holds for this server is not known, so that a difference
    between file and pixels is a warning. The golden requests are the proof.

    Args:
        client: Client of the model.
        golden: Requests whose answers are known, of which each image is asked again.
        rest: The server's REST interface, if it is tested too: by the golden requests, or without
            them by the image.

    Returns:
        Lengths, which must be 1, cosines, which must be close to 1, and what is wrong.

    Raises:
        ServingError: If the server does not answer by gRPC, or the model is not an embedder.
    """
    model = client.connect()
    own = _embed_quarters(client, model)
    lengths = {pair.signature: float(np.linalg.norm(pair.vectors)) for pair in own}
    cosines = {names: _agreement(own, names) for names in (_OF_PIXELS, _OF_FILES)}
    known, golden_faults = _ask_golden(client, golden)
    of_rest, rest_faults = _ask_rest(rest, client.reference, golden or own) if rest else ({}, [])
    disagree = {
        names: f"{names} disagree: cosine {cosine:.4f} < {LEAST_GOLDEN_COSINE}"
        for names, cosine in cosines.items()
        if not cosine >= LEAST_GOLDEN_COSINE
    }
    faults = [
        *_length_faults(lengths),
        *(text for names, text in disagree.items() if names == _OF_PIXELS),
        *golden_faults,
        *rest_faults,
    ]
    warnings = [
        f"{text}; files are decoded or cropped otherwise than by an export. The golden requests "
        "tell whether the model is right: give --golden, the folder of the exported version"
        for names, text in disagree.items()
        if names == _OF_FILES and not golden
    ]
    return SmokeResult(model, lengths, cosines, known, of_rest, tuple(faults), tuple(warnings))


def _embed_quarters(client: EmbeddingClient, model: ServedModel) -> list[GoldenPair]:
    """Embeds the image by each signature."""
    height, width = (size or 224 for size in model.image_shape[:2])
    rows, columns = (np.arange(size) * 2 // size for size in (height, width))
    pixels = _COLOURS[rows[:, None], columns]
    real = pixels.astype(np.float32)
    file = _file_around(pixels)
    requests = [
        predict_request("serving_default", [file]),
        predict_request("serve_uint8", pixels[None]),
        predict_request("serve_float", real[None]),
    ]
    vectors = client.embed([file, pixels, real])
    return [GoldenPair(*pair) for pair in zip(requests, vectors[:, None], strict=True)]


def _file_around(pixels: np.ndarray) -> bytes:
    """Writes an image as PNG, with a margin whose crop leaves just the image."""
    margins = []
    for size in pixels.shape[:2]:
        whole = round(size / _CENTRE_SHARE)
        before = (whole - size) // 2
        margins.append((before, whole - size - before))
    file = io.BytesIO()
    Image.fromarray(np.pad(pixels, [*margins, (0, 0)], "edge")).save(file, "PNG")
    return file.getvalue()


def _agreement(pairs: Sequence[GoldenPair], names: str) -> float:
    by_signature = {pair.signature: pair.vectors for pair in pairs}
    return least_cosine(*(by_signature[name] for name in names.split(", ")))


def _ask_golden(
    client: EmbeddingClient, golden: Sequence[GoldenPair]
) -> tuple[dict[str, float], list[str]]:
    cosines, faults = {}, []
    for pair in golden:
        result = client.embed(pair.images, on_error="return")
        cosines[pair.signature], found = _compare(pair, result.vectors)
        faults += [f"golden {pair.signature}: {error}" for error in result.errors] or found
    return cosines, faults


def _ask_rest(
    rest: RestClient, reference: ModelReference, pairs: Sequence[GoldenPair]
) -> tuple[dict[str, float], list[str]]:
    cosines, faults = {}, []
    for pair in pairs:
        try:
            vectors = rest.predict(reference, pair.signature, pair.images)
        except ServingError as error:
            cosines[pair.signature] = 0.0
            faults.append(f"REST, {pair.signature}: {error}")
        else:
            cosines[pair.signature], found = _compare(pair, vectors)
            faults += [f"REST, {pair.signature}: {fault}" for fault in found]
    return cosines, faults


def _compare(pair: GoldenPair, vectors: np.ndarray) -> tuple[float, list[str]]:
    """Returns the least cosine of an answer with the known one, and what differs."""
    if vectors.shape != pair.vectors.shape:
        return 0.0, [f"answered with shape {vectors.shape}, not {pair.vectors.shape}"]
    if wrong := int(np.sum(~np.isfinite(vectors).all(axis=1))):
        return 0.0, [f"{wrong} of {len(vectors)} embeddings are not finite"]
    with np.errstate(over="ignore", invalid="ignore"):  # what is no embedding may be any number
        cosine = pair.cosine(vectors)
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        off = float(np.max(np.abs(lengths - np.linalg.norm(pair.vectors, axis=1)), initial=0.0))
    faults = pair.faults(cosine)
    if not off <= _LENGTH_TOLERANCE:
        faults = [*faults, f"the length of an embedding differs by {off:.4g}"]
    return cosine, faults


def _length_faults(lengths: dict[str, float]) -> list[str]:
    return [
        f"the embedding of {name} has length {length:.4f}, not 1"
        for name, length in lengths.items()
        if not abs(length - 1) <= _LENGTH_TOLERANCE
    ]
