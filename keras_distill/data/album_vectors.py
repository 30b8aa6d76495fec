"""Vectors of the photographs of albums, from shards on disk."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_distill.data.albums import Albums
from keras_distill.data.vector_shards import open_shards
from keras_distill.errors import InputError


def with_vectors(albums: Albums, folder: str | Path) -> tuple[Albums, list[str]]:
    """Reads the vectors of the photographs of albums.

    Args:
        albums: The albums.
        folder: Folder of vectors that `python -m keras_distill.embed` wrote of the folder that the
            photographs are relative to.

    Returns:
        The albums with vectors, without photographs that could not be embedded; and the paths of
        those.

    Raises:
        InputError: If the vectors are incomplete or damaged, not finite, or of other photographs.
    """
    shards = open_shards(Path(folder))
    found = shards.read()
    place = {path: row for row, path in enumerate(found.paths)}
    wanted = albums.photographs.paths.tolist()
    kept = np.array([path in place for path in wanted], bool)
    refused = _refused(Path(folder))
    if foreign := [
        path for path, known in zip(wanted, kept, strict=True) if not known and path not in refused
    ]:
        raise InputError(
            f"`folder={str(folder)!r}` has no vectors of {len(foreign)} of {len(wanted)} "
            f"photographs, such as {foreign[0]!r}; they are of {shards.manifest['root']!r}. Embed "
            f"{str(albums.photographs.root)!r}, the folder that the photographs' names begin in."
        )
    albums = albums.with_photographs(kept)
    rows = [place[path] for path in albums.photographs.paths.tolist()]
    vectors = np.asarray(found.vectors[rows], np.float32).reshape(len(rows), -1)
    if not np.isfinite(vectors).all():
        raise InputError(f"`folder={str(folder)!r}` has vectors that are not finite; embed again.")
    lacking = [path for path, known in zip(wanted, kept, strict=True) if not known]
    return replace(albums, vectors=vectors), lacking


def vectors_digest(albums: Albums) -> str:
    """Hashes the vectors of albums."""
    vectors = np.ascontiguousarray(albums.vectors)
    return hashlib.blake2b(vectors.data, digest_size=16).hexdigest()


def _refused(folder: Path) -> set[str]:
    """The photographs that could not be embedded."""
    file = folder / "errors.jsonl"
    lines = file.read_text().splitlines() if file.is_file() else []
    return {json.loads(line)["path"] for line in lines}
