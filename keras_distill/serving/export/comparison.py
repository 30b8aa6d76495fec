"""An exported model next to the Keras model that it was made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_distill.data.image_set import ImageSet
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.models.product import by_name
from keras_distill.serving.client.golden_pairs import GoldenPair
from keras_distill.serving.client.output_contract import LENGTH_TOLERANCE, output_contract
from keras_distill.serving.client.predict_requests import predict_request
from keras_distill.serving.export.session_model import SessionModel


@dataclass(frozen=True)
class Comparison:
    """How close the answers of an export are to those of its Keras model.

    Attributes:
        closeness: By output and signature, the least cosine or closeness; see `OutputContract`.
        faults: A sentence for each output of a signature that is not as it must be.
        pixels: The images as the models see them, uint8 `(n, size, size, 3)`.
    """

    closeness: Mapping[str, Mapping[str, float]]
    faults: Sequence[str]
    pixels: np.ndarray


def compare(model: keras.Model, served: SessionModel, images: ImageSet, size: int) -> Comparison:
    """Sends images through each signature and the Keras model, which sees them as in evaluation.

    Args:
        model: The Keras model.
        served: The export.
        images: The images, a few.
        size: Height and width that the models see, in pixels.
    """
    ((x, _),) = evaluation_batches(images, image_size=size, batch_size=len(images))
    pixels = x["image"].numpy()
    expected = keras_outputs(model, pixels)
    files = [(images.root / path).read_bytes() for path in images.paths]
    closeness: dict[str, dict[str, float]] = {name: {} for name in sorted(expected)}
    differing, off_length = [], []
    for request in _requests(files, pixels, sorted(expected)):
        signature, outputs = request.model_spec.signature_name, served.run(request)
        if outputs.keys() != expected.keys():
            differing.append(
                f"the signature {signature} returns {_listed(outputs)}, where the Keras model "
                f"returns {_listed(expected)}"
            )
        for name in sorted(outputs.keys() & expected.keys()):
            contract = output_contract(name)
            least = contract.least_of(outputs[name], expected[name])
            closeness[name][signature] = round(least, 7)
            if not least >= contract.least:
                which = signature if len(expected) == 1 else f"{signature}, output {name!r},"
                differing.append(
                    f"the signature {which} differs from the Keras model: {contract.measure} "
                    f"{least:.6f} < {contract.least}"
                )
            if not (most := contract.off_length(outputs[name])) <= LENGTH_TOLERANCE:
                off_length.append(
                    f"the signature {signature} gives vectors that are off length 1 by "
                    f"{most:.4f}; let the model end with keras.layers.UnitNormalization"
                )
    return Comparison(closeness, differing + off_length, pixels)


def keras_outputs(model: keras.Model, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the outputs of a Keras model in inference mode, by name.

    Args:
        model: The model.
        pixels: Images as the network sees them, `(n, size, size, 3)`, from 0 to 255.
    """
    named = by_name(model(pixels, training=False))
    return {name: np.asarray(tensor) for name, tensor in (named or {}).items()}


def golden_pairs(
    served: SessionModel, files: list[bytes], pixels: np.ndarray, outputs: Sequence[str]
) -> list[GoldenPair]:
    """Returns the outputs of an export for images through each signature.

    Args:
        served: The export.
        files: Bytes of JPEG or PNG files.
        pixels: Images as the network sees them, uint8 `(n, size, size, 3)`.
        outputs: Names of the outputs.

    Returns:
        A pair for each signature and output.
    """
    return [
        GoldenPair(request, answers[name], name)
        for request in _requests(files, pixels, outputs)
        for answers in (served.run(request),)
        for name in outputs
    ]


def _requests(files: list[bytes], pixels: np.ndarray, outputs: Sequence[str]) -> list[Any]:
    return [
        predict_request("serving_default", files, outputs),
        predict_request("serve_uint8", pixels, outputs),
        predict_request("serve_float", pixels.astype(np.float32), outputs),
    ]


def _listed(outputs: Mapping[str, Any]) -> str:
    return ", ".join(sorted(outputs)) or "nothing"
