"""Search of an index by a picture."""

from pathlib import Path

import numpy as np

from keras_distill.data.image_files import CONVERSION, image_format
from keras_distill.data.image_set import ImageSet
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.data.readable_images import why_unreadable
from keras_distill.embedding.batches import embed_batches
from keras_distill.embedding.picture_embedder import load_embedder
from keras_distill.errors import InputError
from keras_distill.retrieval.neighbours import Neighbours
from keras_distill.retrieval.vector_index import VectorIndex
from keras_distill.retrieval.word_rows import WordFacts


def search_by_picture(
    index: VectorIndex,
    image: str,
    model: str,
    *,
    k: int = 10,
    image_size: int | None = None,
    other_model: bool = False,
    mirror: bool = False,
) -> Neighbours:
    """Finds the pictures of an index that are nearest to a picture.

    Args:
        index: The index.
        image: File of the query picture.
        model: The model that embeds it, see `load_teacher`.
        k: Number of pictures to find.
        image_size: Height and width of the image in pixels, for a model that takes any size.
        other_model: Whether to accept another model than the model of the index.
        mirror: Whether to average the embeddings of the picture and its mirror image.

    Returns:
        The neighbours of the picture.

    Raises:
        InputError: If the picture cannot be read, or as `load_embedder` does.
    """
    if WordFacts.of(index) is not None:
        raise InputError(
            f"`index={index.folder}` holds vectors of words, which no picture finds; search it by "
            "`words`."
        )
    query = Path(image)
    try:
        data = query.read_bytes()
    except OSError as error:
        raise InputError(f"`image={image}` cannot be read: {error.strerror}.") from error
    if reason := why_unreadable(data):
        remedy = "" if image_format(data) in ("JPEG", "PNG", "") else f" {CONVERSION}"
        raise InputError(f"`image={image}`: {reason.removesuffix('.')}.{remedy}")
    embedder, size = load_embedder(model, image_size, index, other_model=other_model, mirror=mirror)
    images = ImageSet(query.parent, np.array([query.name]), np.array([-1]), ())
    vectors, _ = embed_batches(embedder, evaluation_batches(images, image_size=size))
    return index.search(vectors, k=k)
