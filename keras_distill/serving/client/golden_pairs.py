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
from keras_distill.serving.client.model_contract import INPUTS
from keras_distill.serving.client.output_contract import EMBEDDING, OutputContract, output_contract
from keras_distill.serving.client.tensors import DT_STRING, decode_float, encode_array

GOLDEN_FOLDER = Path("assets.extra", "golden")


@dataclass(frozen=True)
class GoldenPair:
    """A request, and an output of its answer.

    Attributes:
        request: A `PredictRequest` that names no model.
        vectors: The values of the output, float32 `(n, dim)` or `(n, ...)`, a row for each image.
        output: Name of the output.
    """

    request: Any
    vectors: np.ndarray
    output: str = EMBEDDING

    @property
    def signature(self) -> str:
        """Name of the signature of the request."""
        return self.request.model_spec.signature_name

    @property
    def label(self) -> str:
        """What reports call the pair: its signature, and the output unless it is `embedding`."""
        return label(self.signature, self.output)

    @property
    def contract(self) -> OutputContract:
        """The contract of the output."""
        return output_contract(self.output)

    @property
    def images(self) -> list[Any]:
        """The images of the request: the bytes of files, or arrays `(height, width, 3)`."""
        (tensor,) = self.request.inputs.values()
        if tensor.dtype == DT_STRING:
            return list(tensor.string_val)
        shape = [dim.size for dim in tensor.tensor_shape.dim]
        kind = np.uint8 if self.signature == "serve_uint8" else np.dtype("<f4")
        return list(np.frombuffer(tensor.tensor_content, kind).reshape(shape))

    def closeness(self, vectors: np.ndarray) -> float:
        """Returns how close another answer is at least, by the measure of the contract."""
        return self.contract.least_of(vectors, self.vectors)

    def faults(self, closeness: float) -> list[str]:
        """Says that another answer is not the same within the rounding of another machine."""
        if closeness >= self.contract.least:
            return []
        return [
            f"the golden requests of {self.label} are answered otherwise than by the export: "
            f"{self.contract.measure} {closeness:.6f} < {self.contract.least}"
        ]


def label(signature: str, output: str) -> str:
    """Names an output of a signature; without the output if that is `embedding`.

    Example:
        >>> label("serve_uint8", "embedding"), label("serve_uint8", "logits")
        ('serve_uint8', 'serve_uint8 logits')
    """
    return signature if output == EMBEDDING else f"{signature} {output}"


def write_golden(folder: Path, pairs: Sequence[GoldenPair]) -> None:
    """Writes a file for each signature, `assets.extra/golden/SIGNATURE.pb`, a `PredictLog`.

    Args:
        folder: Folder of the SavedModel.
        pairs: One for each signature and output.
    """
    (folder / GOLDEN_FOLDER).mkdir(parents=True, exist_ok=True)
    logs: dict[str, Any] = {}
    for pair in pairs:
        log = logs.setdefault(pair.signature, PredictLog(request=pair.request))
        log.response.model_spec.signature_name = pair.signature
        log.response.outputs[pair.output].CopyFrom(encode_array(pair.vectors))
    for signature, log in logs.items():
        file = folder / GOLDEN_FOLDER / f"{signature}.pb"
        file.write_bytes(log.SerializeToString(deterministic=True))


def read_golden(golden: Path) -> list[GoldenPair]:
    """Reads the pairs of an exported model.

    Args:
        golden: Folder of the version, or the folder of the pairs themselves.

    Returns:
        The pairs, sorted by signature, then by output.

    Raises:
        InputError: If there are none, or a file holds something else.
    """
    inner = golden / GOLDEN_FOLDER
    files = sorted((inner if inner.is_dir() else golden).glob("*.pb"))
    files = [file for file in files if file.stem in INPUTS]
    if not files:
        raise InputError(
            f"`golden={golden}` has no golden requests; give the folder of a version that "
            "`python -m keras_distill.export` wrote, such as models/photos/1."
        )
    return [pair for file in files for pair in _read(file)]


def _read(file: Path) -> list[GoldenPair]:
    try:
        log = PredictLog.FromString(file.read_bytes())
        # Without an answer it is no pair, which decoding says.
        names = sorted(log.response.outputs) or [EMBEDDING]
        pairs = []
        for name in names:
            output = log.response.outputs[name]
            shape = tuple(dim.size for dim in output.tensor_shape.dim)
            pair = GoldenPair(log.request, decode_float(output, shape), name)
            if pair.signature != file.stem or shape[:1] != (len(pair.images),):
                raise ValueError(f"{len(pair.images)} images of {pair.signature!r} with {shape}")
            pairs.append(pair)
    except (DecodeError, ValueError, KeyError, OSError) as error:
        raise InputError(
            f"{str(file)!r} is no golden request ({error}); it was damaged. Export again."
        ) from error
    return pairs
