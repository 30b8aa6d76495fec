"""The pictures and the model that the flags of `index` name, and the vectors of the two."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from keras_distill.data.dataset import find_images, parse_classes
from keras_distill.data.image_set import ImageSet, read_pictures
from keras_distill.data.readable_images import drop_unreadable
from keras_distill.embedding.resumable import embed_resumably
from keras_distill.errors import InputError
from keras_distill.retrieval.index_manifest import UNFINISHED
from keras_distill.retrieval.index_parts import IndexEntries
from keras_distill.retrieval.vector_index import VectorIndex
from keras_distill.teachers.embedder_fingerprint import embedder_fingerprint
from keras_distill.teachers.image_size import needed_image_size
from keras_distill.teachers.loading import load_teacher
from keras_distill.teachers.teacher import Teacher


def load_images(flags: Any) -> tuple[ImageSet, list[str]]:
    """Lists the readable pictures that the flags name.

    Args:
        flags: The parsed flags.

    Returns:
        The images, and the relative paths of those that were skipped.

    Raises:
        InputError: If there are none, or one is corrupt and `--strict_images`.
    """
    if flags.images:
        images = read_pictures(flags.images)
    else:
        images = find_images("dataset", flags.dataset, flags.data_dir)
    chosen = parse_classes("classes", flags.classes, len(images.class_names))
    if chosen is not None:
        images = images.of_classes(chosen)
    if flags.dataset and not flags.dataset.startswith("folder:"):
        return images, []
    images, skipped = drop_unreadable(
        images, strict=flags.strict_images, max_pixels=flags.max_pixels
    )
    if not len(images):
        raise InputError(f"none of the images in {str(images.root)!r} is readable.")
    return images, skipped


def load_embedder(flags: Any, index: VectorIndex | None = None) -> tuple[Teacher, int]:
    """Loads the model that the flags name, which has to fit an index.

    Args:
        flags: The parsed flags.
        index: The index that its vectors shall be compared with, or added to; `None` for a new one.

    Returns:
        The model, and the height and width that it sees, in pixels.

    Raises:
        InputError: If it cannot be loaded, or is not the one that made the index.
    """
    embedder = load_teacher(flags.model, argument="model")
    if embedder.needs_ids:
        raise InputError(
            f"--model={flags.model} is a table of vectors, which looks at no pixels; give a model."
        )
    made_at = None if index is None else index.manifest.get("image_size")
    size = needed_image_size(
        embedder.image_size, flags.image_size, made_at, source=f"--model={flags.model}"
    )
    if index is not None and not flags.other_model:
        argument = f"--model={flags.model}"
        fingerprint = embedder_fingerprint(embedder, size, argument=argument)
        index.check_embedder(fingerprint, argument=argument)
    return embedder, size


def embed_images(
    flags: Any, embedder: Teacher, image_size: int, images: ImageSet, folder: Path
) -> tuple[IndexEntries, str]:
    """Embeds images for an index, with progress.

    Args:
        flags: The parsed flags.
        embedder: The model.
        image_size: Height and width that it sees, in pixels.
        images: The images.
        folder: The index, where what is done is kept until all is.

    Returns:
        The entries, and the fingerprint of the model.

    Raises:
        InputError: As `embed_resumably`.
    """
    console = Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("embedding", total=len(images))
        vectors = embed_resumably(
            embedder,
            images,
            folder / UNFINISHED,
            image_size=image_size,
            batch_size=flags.batch_size,
            on_rows=lambda rows: progress.advance(task, rows),
        )
    entries = IndexEntries(vectors, images.paths, images.labels, images.class_names, images.root)
    return entries, embedder_fingerprint(embedder, image_size)
