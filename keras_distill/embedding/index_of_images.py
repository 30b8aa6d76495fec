"""Index of images: embeds them, and indexes their embeddings."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from keras_distill.data.image_set import ImageSet
from keras_distill.embedding.picture_embedder import load_embedder
from keras_distill.embedding.resumable import embed_resumably
from keras_distill.embedding.word_embedder import (
    load_word_embedder,
    returns_words,
    rows_of_words,
)
from keras_distill.errors import InputError
from keras_distill.retrieval.index_changes import add_to_index, build_index, rebuild_index
from keras_distill.retrieval.index_manifest import UNFINISHED
from keras_distill.retrieval.index_parts import IndexEntries
from keras_distill.retrieval.vector_index import VectorIndex
from keras_distill.retrieval.word_rows import WORD_FACTS, WordFacts, word_entries, word_facts
from keras_distill.teachers.embedder_fingerprint import embedder_fingerprint
from keras_distill.teachers.teacher import Teacher


def build_index_of_images(
    folder: Path,
    images: ImageSet,
    model: str,
    *,
    image_size: int | None = None,
    batch_size: int = 64,
    backend: str = "auto",
    overwrite: bool = False,
    mirror: bool = False,
) -> VectorIndex:
    """Embeds images and builds an index of them; resumes a build that was interrupted.

    Args:
        folder: The index.
        images: The images.
        model: The model, as for `load_teacher`; or a model of word space, whose index is searched
            by words.
        image_size: Height and width of the images in pixels, for a model that takes any size.
        batch_size: Images that are embedded at once.
        backend: Search backend, see `build_searcher`.
        overwrite: Whether to replace an index that is already there.
        mirror: Whether to average the embeddings of each image and its mirror image.

    Returns:
        The index.

    Raises:
        InputError: As `load_embedder`, `embed_resumably` and `build_index` do.
    """
    details: dict[str, Any] = {"model": model}
    if returns_words(model):
        embedder, size, rows = load_word_embedder(model, image_size, mirror=mirror)
        vectors, fingerprint = _embed(embedder, images, folder, size, batch_size)
        words = rows_of_words(vectors, rows)
        facts = word_facts(words)
        details[WORD_FACTS] = asdict(facts)
        columns = (images.paths, images.labels, images.class_names, images.root)
        entries = word_entries(words, facts, *columns)
    else:
        embedder, size = load_embedder(model, image_size, mirror=mirror)
        vectors, fingerprint = _embed(embedder, images, folder, size, batch_size)
        entries = _entries(vectors, images)
    index = build_index(
        folder,
        entries,
        embedder=fingerprint,
        backend=backend,
        details=details | {"image_size": size, "mirror": embedder.mirror_averaged},
        overwrite=overwrite,
    )
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    return index


def add_images_to_index(
    index: VectorIndex,
    images: ImageSet,
    model: str,
    *,
    image_size: int | None = None,
    batch_size: int = 64,
    rebuild: bool = False,
    mirror: bool = False,
) -> tuple[VectorIndex, int]:
    """Embeds the images that an index does not have yet, and adds them.

    Args:
        index: The index.
        images: The images, new and old.
        model: The model that made the index, as for `load_teacher`.
        image_size: Height and width of the images in pixels, for a model that takes any size.
        batch_size: Images that are embedded at once.
        rebuild: Whether to merge all parts and build the searcher again.
        mirror: Whether to average the embeddings of each image and its mirror image, as for the
            images that the index has.

    Returns:
        The index, and the number of images that were new.

    Raises:
        InputError: As `load_embedder`, `embed_resumably` and `add_to_index` do.
    """
    folder = index.folder
    new = images.select(index.lacks(index.named(images.paths, images.root)))
    facts = WordFacts.of(index)
    if not rebuild:
        index.check_loose(added=len(new) * (facts.rows if facts else 1))
    if not len(new):
        return (rebuild_index(folder) if rebuild else index), 0
    if facts is not None:
        _check_words(model, index)
        embedder, size, _ = load_word_embedder(model, image_size, index, mirror=mirror)
        vectors, fingerprint = _embed(embedder, new, folder, size, batch_size)
        columns = (new.paths, new.labels, new.class_names, new.root)
        entries = word_entries(rows_of_words(vectors, facts.rows), facts, *columns)
    else:
        embedder, size = load_embedder(model, image_size, index, mirror=mirror)
        vectors, fingerprint = _embed(embedder, new, folder, size, batch_size)
        entries = _entries(vectors, new)
    index = add_to_index(folder, entries, embedder=fingerprint, rebuild=rebuild)
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    return index, len(new)


def _embed(
    embedder: Teacher, images: ImageSet, folder: Path, image_size: int, batch_size: int
) -> tuple[np.ndarray, str]:
    """Embeds images, with progress; finished shards are kept in the folder of the index."""
    console = Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("embedding", total=len(images))
        vectors = embed_resumably(
            embedder,
            images,
            folder / UNFINISHED,
            image_size=image_size,
            batch_size=batch_size,
            on_rows=lambda rows: progress.advance(task, rows),
        )
    return vectors, embedder_fingerprint(embedder, image_size)


def _entries(vectors: np.ndarray, images: ImageSet) -> IndexEntries:
    return IndexEntries(vectors, images.paths, images.labels, images.class_names, images.root)


def _check_words(model: str, index: VectorIndex) -> None:
    if not returns_words(model):
        raise InputError(
            f"`model={model}` returns no words, and {str(index.folder)!r} holds vectors of words; "
            "give the model that it was built with."
        )
