"""Requests with the answers that an exported model gave, kept beside it.

Whoever serves the model asks them again: another answer means another model, or a server that
decodes, computes or casts otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from keras_distill.errors import InputError
from keras_distill.serving.client.messages import PredictLog
from keras_distill.serving.client.model_contract import INPUTS, OUTPUT
from keras_distill.serving.client.tensors import DT_STRING, decode_float, encode_array

GOLDEN_FOLDER = Path("assets.extra", "golden")
LEAST_GOLDEN_COSINE = 0.9999


@dataclass(frozen=True)
class GoldenPair:
    """A request and its answer.

    Attributes:
        request: A `PredictRequest` that names no model.
        vectors: The answer, float32 `(n, dim)`.
    """

    request: Any
    vectors: np.ndarray

    @property
    def signature(self) -> str:
        """Name of the signature that is asked."""
        return self.request.model_spec.signature_name

    @property
    def images(self) -> list[Any]:
        """The images of the request: the bytes of files, or arrays `(height, width, 3)`."""
        (tensor,) = self.request.inputs.values()
        if tensor.dtype == DT_STRING:
            return list(tensor.string_val)
        shape = [dim.size for dim in tensor.tensor_shape.dim]
        kind = np.uint8 if self.signature == "serve_uint8" else np.dtype("<f4")
        return list(np.frombuffer(tensor.tensor_content, kind).reshape(shape))

    def cosine(self, vectors: np.ndarray) -> float:
        """Returns the least cosine of another answer with this one; 0 if it has another shape."""
        if vectors.shape != self.vectors.shape:
            return 0.0
        return least_cosine(vectors, self.vectors)

    def faults(self, cosine: float) -> list[str]:
        """Says that another answer is not the same within the rounding of another machine."""
        if cosine >= LEAST_GOLDEN_COSINE:
            return []
        return [
            f"the golden requests of {self.signature} are answered otherwise than by the export: "
            f"cosine {cosine:.6f} < {LEAST_GOLDEN_COSINE}"
        ]


def write_golden(folder: Path, pairs: Sequence[GoldenPair]) -> None:
    """Writes one file for each pair, `assets.extra/golden/SIGNATURE.pb`, a `PredictLog`.

    Args:
        folder: Folder of the SavedModel.
        pairs: One for each signature.
    """
    (folder / GOLDEN_FOLDER).mkdir(parents=True, exist_ok=True)
    for pair in pairs:
        log = PredictLog(request=pair.request)
        log.response.model_spec.signature_name = pair.signature
        log.response.outputs[OUTPUT].CopyFrom(encode_array(pair.vectors))
        file = folder / GOLDEN_FOLDER / f"{pair.signature}.pb"
        file.write_bytes(log.SerializeToString(deterministic=True))


def read_golden(folder: Path, *, argument: str = "golden") -> list[GoldenPair]:
    """Reads the pairs of an exported model.

    Args:
        folder: Folder of the version, or the folder of the pairs themselves.
        argument: Name of the argument that an error message should name.

    Returns:
        The pairs, sorted by signature.

    Raises:
        InputError: If there are none, or a file holds something else.
    """
    inner = folder / GOLDEN_FOLDER
    files = sorted((inner if inner.is_dir() else folder).glob("*.pb"))
    files = [file for file in files if file.stem in INPUTS]
    if not files:
        raise InputError(
            f"{argument}={folder} has no golden requests; give the folder of a version that "
            "`python -m keras_distill.export` wrote, such as models/photos/1."
        )
    return [_read(file, argument) for file in files]


def _read(file: Path, argument: str) -> GoldenPair:
    try:
        log = PredictLog.FromString(file.read_bytes())
        output = log.response.outputs[OUTPUT]
        shape = tuple(dim.size for dim in output.tensor_shape.dim)
        pair = GoldenPair(log.request, decode_float(output, shape))
        if pair.signature != file.stem or shape[:1] != (len(pair.images),):
            raise ValueError(f"{len(pair.images)} images of {pair.signature!r} with {shape}")
    except (DecodeError, ValueError, KeyError, OSError) as error:
        raise InputError(
            f"{argument}: {str(file)!r} is no golden request ({error}); it was damaged. "
            "Export again."
        ) from error
    return pair


def least_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the least cosine of the rows of two matrices `(n, dim)`; NaN if one is not finite."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.min(np.sum(a * b, axis=1) / np.where(lengths > 0, lengths, 1.0)))
