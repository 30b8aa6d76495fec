"""A hash of everything that decides which vector an image gets."""

from keras_distill.data.views import VIEWS_VERSION
from keras_distill.errors import InputError
from keras_distill.teachers.model_fingerprint import fingerprint_of
from keras_distill.teachers.teacher import Teacher


def embedder_fingerprint(embedder: Teacher, image_size: int, *, argument: str = "model") -> str:
    """Hashes everything that decides which vector an image gets.

    Args:
        embedder: The model.
        image_size: Height and width that it sees, in pixels.
        argument: Name of the argument that an error message should name.

    Returns:
        The hash: of the model, of the size, and of how images are decoded.

    Raises:
        InputError: If the model is a plain function, which cannot be told from another.
    """
    fingerprint = embedder.fingerprint
    if fingerprint is None:
        raise InputError(
            f"{argument} cannot be told from another model: a layer of it does not tell its "
            "configuration; give it a get_config, or export it as a SavedModel."
        )
    return fingerprint_of("embedder", fingerprint, image_size, VIEWS_VERSION)
