"""An exported model beside the Keras model that it was made of."""

import keras
import numpy as np

from keras_distill.data.image_set import ImageSet
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.serving.golden_pairs import GoldenPair
from keras_distill.serving.model_contract import OUTPUT
from keras_distill.serving.predict_requests import predict_request
from keras_distill.serving.session_model import SessionModel

LEAST_COSINE = 0.9999


def compare(
    model: keras.Model, served: SessionModel, images: ImageSet, size: int
) -> tuple[dict[str, float], np.ndarray]:
    """Embeds images by each signature and by the Keras model, which sees them as in evaluation.

    Args:
        model: The Keras model.
        served: The export.
        images: The images, a few.
        size: Height and width that the models see, in pixels.

    Returns:
        The least cosine by signature, and the pixels of the images as the models see them, uint8
        `(n, size, size, 3)`.
    """
    ((x, _),) = evaluation_batches(images, image_size=size, batch_size=len(images))
    pixels = x["image"].numpy()
    expected = model(pixels, training=False).numpy()
    files = [(images.root / path).read_bytes() for path in images.paths]
    cosines = {
        pair.signature: round(pair.cosine(expected), 7) for pair in ask(served, files, pixels)
    }
    return cosines, pixels


def comparison_faults(cosines: dict[str, float]) -> list[str]:
    """Lists the signatures whose embeddings are not those of the Keras model.

    Args:
        cosines: The least cosine by signature.

    Returns:
        A sentence for each cosine below 0.9999.
    """
    return [
        f"the signature {name} differs from the Keras model: cosine {cosine:.6f} < {LEAST_COSINE}"
        for name, cosine in cosines.items()
        if not cosine >= LEAST_COSINE
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
