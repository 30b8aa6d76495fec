"""Loading of a model of word space for an index."""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np

from keras_distill.errors import InputError, renamed_arguments
from keras_distill.models.loading import load_model
from keras_distill.models.mirror_average import mirror_averaged
from keras_distill.models.product import by_name
from keras_distill.models.word_space import WORDS
from keras_distill.retrieval.vector_index import VectorIndex
from keras_distill.teachers.embedder_fingerprint import embedder_fingerprint
from keras_distill.teachers.image_size import needed_image_size
from keras_distill.teachers.teacher import Teacher, as_teacher


def returns_words(model: str | Path) -> bool:
    """Tells whether a `.keras` file, or the product of a run, returns `words`, without loading it.

    Args:
        model: The file or the run directory.
    """
    path = Path(model)
    if path.is_dir():
        path = path / "model.keras"
    if path.suffix != ".keras" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as file:
            config = json.loads(file.read("config.json"))["config"]
        return WORDS in (config.get("output_layers") or {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile):
        return False


def load_word_embedder(
    model: str,
    image_size: int | None = None,
    index: VectorIndex | None = None,
    *,
    mirror: bool = False,
) -> tuple[Teacher, int, int]:
    """Loads a model of word space as an embedder whose vectors hold the rows of an image.

    Args:
        model: A `.keras` file or a run directory, for which `returns_words` is true.
        image_size: Height and width of the images, in pixels, for a model that takes any size.
        index: The index that images are added to.
        mirror: Whether to average the vectors of each image and its mirror image.

    Returns:
        The embedder, from images to `(n, rows * width)`; the height and width of the images that it
        sees; and the number of rows.

    Raises:
        InputError: If it is not the model of the index.
    """
    with renamed_arguments(path="model"):
        loaded = load_model(model)
    with renamed_arguments(model=f"model={model}"):
        if mirror:
            loaded = mirror_averaged(loaded)
        words = (by_name(loaded.output) or {})[WORDS]
        rows, width = words.shape[1:]
        flat = keras.layers.Reshape((rows * width,), dtype="float32")(words)
        embedder = as_teacher(keras.Model(loaded.inputs[0], flat))
        size = needed_image_size(embedder.image_size, image_size, None)
    if index is not None:
        try:
            index.check_embedder(embedder_fingerprint(embedder, size))
        except InputError as error:
            raise InputError(
                f"`model={model}`: {error} `mirror` must be as it was then, too."
            ) from error
    return embedder, size, rows


def rows_of_words(vectors: np.ndarray, rows: int) -> np.ndarray:
    """Takes the vectors of `load_word_embedder` apart.

    Args:
        vectors: float `(n, rows * width)`.
        rows: Number of rows.

    Returns:
        The same values, `(n, rows, width)`.
    """
    return vectors.reshape(len(vectors), rows, -1)
