"""Hash of everything that decides which vector an image gets."""

from keras_distill.data.views import VIEWS_VERSION
from keras_distill.errors import InputError
from keras_distill.teachers.model_fingerprint import fingerprint_of
from keras_distill.teachers.teacher import Teacher


def embedder_fingerprint(embedder: Teacher, image_size: int) -> str:
    """Hashes everything that decides which vector an image gets.

    Args:
        embedder: The model.
        image_size: Height and width of the images that it sees, in pixels.

    Returns:
        The hash: of the model, of the size, and of how images are decoded.

    Raises:
        InputError: If the model is a plain function, which cannot be told from another.
    """
    fingerprint = embedder.fingerprint
    if fingerprint is None:
        raise InputError(
            "`embedder` cannot be told from another model: one of its layers does not return its "
            "configuration; give the layer a get_config, or export the model as a SavedModel."
        )
    return fingerprint_of("embedder", fingerprint, image_size, VIEWS_VERSION)
