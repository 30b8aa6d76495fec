"""Bulk embedding of pictures, some of which may be unreadable."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from keras_distill.data.image_set import ImageSet
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.data.readable_images import is_utf8, why_unreadable
from keras_distill.data.vector_format import VectorRows
from keras_distill.errors import InputError
from keras_distill.teachers.teacher import Teacher

NOT_FINITE = "its embedding is not finite"


def embed_readable(
    embedder: Teacher,
    images: ImageSet,
    *,
    dim: int,
    image_size: int,
    batch_size: int = 64,
    on_rows: Callable[[int], object] = lambda rows: None,
) -> VectorRows:
    """Embeds the centre of images; each is read and decoded once.

    Args:
        embedder: The model.
        images: The images.
        dim: Width of the embeddings.
        image_size: Height and width of the model's input, in pixels.
        batch_size: Images that are embedded at once.
        on_rows: Called with the number of images that are done, for progress.

    Returns:
        The vectors of the images that could be embedded, in order, and the reasons for the others.

    Raises:
        InputError: If images could be read, but no embedding is finite.
    """
    vectors = np.zeros((len(images), dim), np.float32)
    seen, finite = np.zeros((2, len(images)), bool)
    nameable = np.array([why_unnameable(path) == "" for path in images.paths.tolist()], bool)
    # The label of each image is replaced by its row.
    numbered = replace(images, labels=np.arange(len(images))).select(nameable)
    batches = evaluation_batches(
        numbered, image_size=image_size, batch_size=batch_size, skip_unreadable=True
    )
    for x, places in batches:
        answer = embedder(x["image"]).numpy()
        vectors[places] = answer
        seen[places] = True
        finite[places] = np.isfinite(answer).all(1)
        on_rows(len(answer))
    if seen.any() and not finite.any():
        raise InputError(
            "`embedder` returned embeddings that are not finite; it diverged in training, or its "
            "weights are damaged."
        )
    errors = [
        (path, NOT_FINITE if seen[place] else _why_missing(images, path))
        for place, path in enumerate(images.paths.tolist())
        if not finite[place]
    ]
    on_rows(len(images) - int(seen.sum()))
    kept = images.select(finite)
    return VectorRows(vectors[finite], kept.paths.tolist(), kept.labels, images.class_names, errors)


def why_unnameable(path: str) -> str:
    """Returns why a path cannot be listed in a text file, one path a line; empty if it can."""
    if not is_utf8(path):
        return "its name is not UTF-8"
    return "its name holds a line break" if {"\n", "\r"} & set(path) else ""


def _why_missing(images: ImageSet, path: str) -> str:
    if reason := why_unnameable(path):
        return reason
    try:
        return why_unreadable((images.root / path).read_bytes()) or "it could not be decoded"
    except OSError as error:
        return error.strerror or str(error)
