"""Smoke test of a served model."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from keras_distill.serving.client.client import EmbeddingClient
from keras_distill.serving.client.errors import ServingError
from keras_distill.serving.client.golden_pairs import GoldenPair, label
from keras_distill.serving.client.model_contract import ServedModel
from keras_distill.serving.client.model_reference import ModelReference
from keras_distill.serving.client.output_contract import LENGTH_TOLERANCE, output_contract
from keras_distill.serving.client.predict_requests import predict_request
from keras_distill.serving.client.rest_client import RestClient

_COLOURS = np.array([[[210, 60, 40], [40, 160, 70]], [[50, 70, 200], [230, 210, 60]]], np.uint8)
# Of a file the centre is embedded, with this share of its short side, as in evaluation.
_CENTRE_SHARE = 224 / 256
_OF_PIXELS, _OF_FILES = "serve_uint8, serve_float", "serving_default, serve_uint8"


@dataclass(frozen=True)
class SmokeResult:
    """What one image gave through each signature, and what the golden requests gave.

    Attributes:
        model: What the server says of the model.
        lengths: L2 length of the embedding by signature; none of a model without embedding.
        cosines: Cosine of the embeddings of two signatures; of other outputs, their closeness, with
            the name of the output behind.
        golden: By signature, least cosine (or closeness) of the answers to the golden requests with
            the known ones.
        rest: By signature, least cosine (or closeness) of the answers by REST with the known ones;
            with those by gRPC if there are no golden requests.
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
        ServingError: If the server does not answer by gRPC, or the model is not an exported one.
    """
    model = client.connect()
    own = _answer_quarters(client, model)
    lengths = {
        pair.signature: float(np.linalg.norm(pair.vectors))
        for pair in own
        if pair.contract.unit_length
    }
    cosines, disagree = _agreements(own, list(model.outputs))
    known, golden_faults = _ask_golden(client, golden)
    of_rest, rest_faults = _ask_rest(rest, client.reference, golden or own) if rest else ({}, [])
    faults = [
        *_length_faults(lengths),
        *(text for names, text in disagree if names == _OF_PIXELS),
        *golden_faults,
        *rest_faults,
    ]
    warnings = [
        f"{text}; files are decoded or cropped otherwise than by an export. The golden requests "
        "tell whether the model is right: give `golden`, the folder of the exported version"
        for names, text in disagree
        if names == _OF_FILES and not golden
    ]
    return SmokeResult(model, lengths, cosines, known, of_rest, tuple(faults), tuple(warnings))


def _answer_quarters(client: EmbeddingClient, model: ServedModel) -> list[GoldenPair]:
    """Requests all outputs for the image by each signature."""
    height, width = (size or 224 for size in model.image_shape[:2])
    rows, columns = (np.arange(size) * 2 // size for size in (height, width))
    pixels = _COLOURS[rows[:, None], columns]
    real = pixels.astype(np.float32)
    file = _file_around(pixels)
    requests = [
        predict_request("serving_default", [file], list(model.outputs)),
        predict_request("serve_uint8", pixels[None], list(model.outputs)),
        predict_request("serve_float", real[None], list(model.outputs)),
    ]
    return [
        GoldenPair(request, row[None], output)
        for output, rows in client.predict([file, pixels, real]).items()
        for request, row in zip(requests, rows, strict=True)
    ]


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


def _agreements(
    pairs: Sequence[GoldenPair], outputs: Sequence[str]
) -> tuple[dict[str, float], list[tuple[str, str]]]:
    """Compares the answers of two signatures; returns also the two that disagree, and how."""
    by_label = {pair.label: pair for pair in pairs}
    cosines, disagree = {}, []
    for output in outputs:
        contract = output_contract(output)
        for names in (_OF_PIXELS, _OF_FILES):
            one, other = (by_label[label(name, output)] for name in names.split(", "))
            cosine = cosines[label(names, output)] = one.closeness(other.vectors)
            if not cosine >= contract.least:
                text = f"{contract.measure} {cosine:.4f} < {contract.least}"
                disagree.append((names, f"{label(names, output)} disagree: {text}"))
    return cosines, disagree


def _ask_golden(
    client: EmbeddingClient, golden: Sequence[GoldenPair]
) -> tuple[dict[str, float], list[str]]:
    cosines, faults = {}, []
    for pair in golden:
        result = client.predict(pair.images, outputs=[pair.output], on_error="return")
        cosines[pair.label], found = _compare(pair, result.outputs[pair.output])
        faults += [f"golden {pair.label}: {error}" for error in result.errors] or found
    return cosines, faults


def _ask_rest(
    rest: RestClient, reference: ModelReference, pairs: Sequence[GoldenPair]
) -> tuple[dict[str, float], list[str]]:
    cosines, faults = {}, []
    for pair in pairs:
        try:
            vectors = rest.predict(reference, pair.signature, pair.images, pair.output)
        except ServingError as error:
            cosines[pair.label] = 0.0
            faults.append(f"REST, {pair.label}: {error}")
        else:
            cosines[pair.label], found = _compare(pair, vectors)
            faults += [f"REST, {pair.label}: {fault}" for fault in found]
    return cosines, faults


def _compare(pair: GoldenPair, vectors: np.ndarray) -> tuple[float, list[str]]:
    """Returns the least measure of an answer with the known one, and what differs."""
    if vectors.shape != pair.vectors.shape:
        return 0.0, [f"answered with shape {vectors.shape}, not {pair.vectors.shape}"]
    finite = np.isfinite(vectors).reshape(len(vectors), -1).all(axis=1)
    if wrong := int(np.sum(~finite)):
        what = "embeddings" if pair.contract.unit_length else pair.output
        return 0.0, [f"{wrong} of {len(vectors)} {what} are not finite"]
    closeness = pair.closeness(vectors)
    faults = pair.faults(closeness)
    if not pair.contract.unit_length:
        return closeness, faults
    with np.errstate(over="ignore", invalid="ignore"):  # what is no embedding may be any number
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        off = float(np.max(np.abs(lengths - np.linalg.norm(pair.vectors, axis=1)), initial=0.0))
    if not off <= LENGTH_TOLERANCE:
        faults = [*faults, f"the length of an embedding differs by {off:.4g}"]
    return closeness, faults


def _length_faults(lengths: dict[str, float]) -> list[str]:
    return [
        f"the embedding of {name} has length {length:.4f}, not 1"
        for name, length in lengths.items()
        if not abs(length - 1) <= LENGTH_TOLERANCE
    ]
