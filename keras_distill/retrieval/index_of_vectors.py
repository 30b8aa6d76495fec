"""Index of the vectors that bulk embedding wrote."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from keras_distill.data.vector_shards import open_shards
from keras_distill.errors import renamed_arguments
from keras_distill.retrieval.index_changes import add_to_index, build_index
from keras_distill.retrieval.index_manifest import UNFINISHED
from keras_distill.retrieval.index_parts import IndexEntries
from keras_distill.retrieval.vector_index import VectorIndex


def build_index_of_vectors(
    folder: Path, vectors: Path, *, backend: str = "auto", overwrite: bool = False
) -> VectorIndex:
    """Builds an index of stored vectors.

    Args:
        folder: The index.
        vectors: Folder that `python -m keras_distill.embed` wrote.
        backend: Search backend, see `build_searcher`.
        overwrite: Whether to replace an index that is already there.

    Returns:
        The index.

    Raises:
        InputError: If vectors are missing or damaged, or as `build_index` does.
    """
    entries, provenance = _stored(vectors)
    index = build_index(
        folder,
        entries,
        embedder=provenance["embedder"],
        backend=backend,
        details={
            "model": provenance["model"],
            "image_size": provenance["image_size"],
            "mirror": provenance.get("mirror", False),  # vectors of former versions have none
        },
        overwrite=overwrite,
    )
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)  # of a build from the images
    return index


def add_vectors_to_index(
    index: VectorIndex, vectors: Path, *, rebuild: bool = False
) -> tuple[VectorIndex, int]:
    """Adds the stored vectors of images that an index does not have yet.

    Args:
        index: The index.
        vectors: Folder that `python -m keras_distill.embed` wrote.
        rebuild: Whether to merge all parts and build the searcher again.

    Returns:
        The index, and the number of images that were new.

    Raises:
        InputError: If vectors are missing or damaged, or as `add_to_index` does.
    """
    entries, provenance = _stored(vectors)
    before = len(index)
    index = add_to_index(index.folder, entries, embedder=provenance["embedder"], rebuild=rebuild)
    return index, len(index) - before


def _stored(vectors: Path) -> tuple[IndexEntries, dict[str, Any]]:
    """Reads the entries, and the manifest with their provenance."""
    with renamed_arguments(folder="vectors"):
        shards = open_shards(vectors)
    rows, root = shards.read(), Path(shards.manifest["root"])
    paths = np.array(rows.paths, np.str_)
    entries = IndexEntries(rows.vectors, paths, rows.labels, rows.class_names, root)
    return entries, shards.manifest
