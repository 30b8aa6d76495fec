"""An exported model beside the Keras model that it was made of."""

import keras
import numpy as np

from keras_distill.data.image_set import ImageSet
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.serving.client.golden_pairs import GoldenPair
from keras_distill.serving.client.model_contract import OUTPUT
from keras_distill.serving.client.predict_requests import predict_request
from keras_distill.serving.export.session_model import SessionModel

LEAST_COSINE, LENGTH_TOLERANCE = 0.9999, 1e-3


def compare(
    model: keras.Model, served: SessionModel, images: ImageSet, size: int
) -> tuple[dict[str, float], dict[str, float], np.ndarray]:
    """Embeds images by each signature and by the Keras model, which sees them as in evaluation.

    Args:
        model: The Keras model.
        served: The export.
        images: The images, a few.
        size: Height and width that the models see, in pixels.

    Returns:
        By signature the least cosine, and the most that a length is off 1; and the pixels of the
        images as the models see them, uint8 `(n, size, size, 3)`.
    """
    ((x, _),) = evaluation_batches(images, image_size=size, batch_size=len(images))
    pixels = x["image"].numpy()
    expected = model(pixels, training=False).numpy()
    files = [(images.root / path).read_bytes() for path in images.paths]
    pairs = ask(served, files, pixels)
    cosines = {pair.signature: round(pair.cosine(expected), 7) for pair in pairs}
    off = {
        pair.signature: float(np.max(np.abs(np.linalg.norm(pair.vectors, axis=1) - 1)))
        for pair in pairs
    }
    return cosines, off, pixels


def comparison_faults(cosines: dict[str, float], off: dict[str, float]) -> list[str]:
    """Lists the signatures whose embeddings are not those of the Keras model.

    Args:
        cosines: The least cosine by signature.
        off: The most that a length is off 1, by signature.

    Returns:
        A sentence for each cosine below 0.9999, and for vectors that are not of length 1.
    """
    return [
        f"the signature {name} differs from the Keras model: cosine {cosine:.6f} < {LEAST_COSINE}"
        for name, cosine in cosines.items()
        if not cosine >= LEAST_COSINE
    ] + [
        f"the signature {name} gives vectors that are off length 1 by {most:.4f}; let the model "
        "end with keras.layers.UnitNormalization"
        for name, most in off.items()
        if not most <= LENGTH_TOLERANCE
    ]


def ask(served: SessionModel, files: list[bytes], pixels: np.ndarray) -> list[GoldenPair]:
    """Asks an export for the vectors of images through each signature.

    Args:
        served: The export.
        files: Bytes of JPEG or PNG files.
        pixels: Images as the network sees them, uint8 `(n, size, size, 3)`.

    Returns:
        One request a signature, with its answer.
    """
    requests = [
        predict_request("serving_default", files),
        predict_request("serve_uint8", pixels),
        predict_request("serve_float", pixels.astype(np.float32)),
    ]
    return [GoldenPair(request, served.run(request)[OUTPUT]) for request in requests]
