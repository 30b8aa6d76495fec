"""Building and changing an index on disk.

Parts are written next to the parts in use and never changed; an index changes at the moment its
manifest is renamed. A process that is killed leaves the old index or the new one. Small parts are
merged as they come, see `unmerged_parts`; the first one, which is prepared for approximate search,
is merged by a rebuild only.
"""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_distill import __version__
from keras_distill.errors import InputError
from keras_distill.publishing import published_file
from keras_distill.retrieval.backends import build_searcher, sampled_agreement
from keras_distill.retrieval.index_manifest import (
    FORMAT,
    commit,
    free_name,
    locked,
    sync,
)
from keras_distill.retrieval.index_parts import IndexEntries, unmerged_parts, write_part
from keras_distill.retrieval.vector_checks import checked_vectors
from keras_distill.retrieval.vector_index import VectorIndex, open_index


def build_index(
    folder: str | Path,
    entries: IndexEntries,
    *,
    embedder: str | None = None,
    backend: str = "auto",
    details: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> VectorIndex:
    """Writes an index.

    Args:
        folder: Folder of the index, new or to be replaced.
        entries: The images and their vectors.
        embedder: Fingerprint of the model that embedded them, see `Teacher.fingerprint`.
        backend: Search backend, see `build_searcher`.
        details: Further entries of the manifest for people to read, such as the path of the model.
        overwrite: Whether to replace an index that is already there.

    Returns:
        The index.

    Raises:
        InputError: If the entries cannot be indexed, the folder is in use, or the disk is full.

    Example:
        >>> entries = IndexEntries(
        ...     vectors, paths, labels, ("cat", "dog"), Path("photos")
        ... )  # doctest: +SKIP
        >>> build_index("photos.index", entries).search(vectors, k=1)  # doctest: +SKIP
    """
    folder = Path(folder)
    entries = _checked(entries)
    with locked(folder):
        if (folder / "manifest.json").exists() and not overwrite:
            raise InputError(
                f"`folder={folder}` holds an index already; choose another folder, or pass "
                "`overwrite=True`."
            )
        manifest = {"model": None, **(details or {}), "embedder": embedder}
        return _write(folder, entries, manifest, backend)


def add_to_index(
    folder: str | Path,
    entries: IndexEntries,
    *,
    embedder: str | None = None,
    rebuild: bool = False,
) -> VectorIndex:
    """Adds images that an index does not have yet; those whose path it has are passed over.

    Args:
        folder: The index.
        entries: The images and their vectors.
        embedder: Fingerprint of the model that embedded them; `None` if known to fit.
        rebuild: Whether to merge all parts and build the searcher again. An index that is searched
            exactly does not need it.

    Returns:
        The changed index.

    Raises:
        InputError: If the entries do not fit the index, more rows would be loose than its
            `most_loose` allows, or the disk is full.
    """
    folder = Path(folder)
    with locked(folder):
        index = open_index(folder)
        if embedder is not None:
            index.check_embedder(embedder)
        entries = _for_index(_checked(entries), index)
        if rebuild:
            return _write(folder, _joined(_living(index), entries), index.manifest)
        if not len(entries.paths):
            return index
        index.check_loose(added=len(entries.paths))
        changes = {
            "rows": len(index) + len(entries.paths),
            "class_names": list(entries.class_names),
        }
        parts = index.manifest["parts"]
        kept = unmerged_parts(
            [part["rows"] for part in parts],
            len(entries.paths),
            first=0 if index.compares_all else 1,
        )
        if kept < len(parts):
            # Deleted rows too, so that row numbers stay what they are.
            first = sum(part["rows"] for part in parts[:kept])
            entries = _joined(_stored(index, np.arange(first, index.total)), entries)
        name = free_name(folder, "part")
        write_part(folder / name, entries)
        changes["parts"] = [*parts[:kept], _described(name, entries)]
        commit(folder, index.manifest | changes)
        return open_index(folder)


def delete_from_index(
    folder: str | Path, patterns: Sequence[str], *, rebuild: bool = False
) -> VectorIndex:
    """Deletes images from an index.

    Args:
        folder: The index.
        patterns: Their paths; `*`, `?` and `[...]` stand for more than one, as in a shell.
        rebuild: Whether to merge all parts and build the searcher again.

    Returns:
        The changed index.

    Raises:
        InputError: If a pattern matches no image, more rows would be loose than the `most_loose` of
            the index allows, or the disk is full.
    """
    folder = Path(folder)
    with locked(folder):
        index = open_index(folder)
        place: dict[str, list[int]] = {}
        for path, row in zip(index.paths(index.rows), index.rows.tolist(), strict=True):
            place.setdefault(path, []).append(row)
        found: set[int] = set()
        for pattern in patterns:
            paths = [pattern] if pattern in place else fnmatch.filter(place, pattern)
            if not paths:
                raise InputError(f"`patterns={pattern}` matches no image of {str(folder)!r}.")
            found.update(row for path in paths for row in place[path])
        dead = np.array(sorted(found), np.int64)
        if rebuild:
            return _write(folder, _living(index, without=dead), index.manifest)
        index.check_loose(deleted=len(dead))
        name = f"{free_name(folder, 'deleted')}.npy"
        with published_file(folder / name) as temporary:
            np.save(temporary, np.union1d(index.deleted, dead))
            sync(temporary)
        commit(folder, index.manifest | {"deleted": name, "rows": len(index) - len(dead)})
        return open_index(folder)


def rebuild_index(folder: str | Path, *, backend: str | None = None) -> VectorIndex:
    """Merges all parts of an index and builds its searcher again, without a model.

    Args:
        folder: The index.
        backend: Another search backend, see `build_searcher`; by default the present one.

    Returns:
        The changed index.

    Raises:
        InputError: If the index is empty, or the disk is full.
    """
    folder = Path(folder)
    with locked(folder):
        index = open_index(folder)
        return _write(folder, _living(index), index.manifest, backend)


def _write(
    folder: Path, entries: IndexEntries, manifest: Mapping[str, Any], backend: str | None = None
) -> VectorIndex:
    """Writes an index of a single part, in place of a previous index."""
    if not len(entries.paths):
        raise InputError(f"no image would be left in {str(folder)!r}; delete the folder instead.")
    searcher = build_searcher(entries.vectors, backend=backend or manifest["asked_backend"])
    agreement = sampled_agreement(searcher)
    name = free_name(folder, "part")
    write_part(folder / name, entries, searcher)
    commit(
        folder,
        {
            **manifest,
            "format": FORMAT,
            "keras_distill": __version__,
            "dim": int(searcher.gallery.shape[1]),
            "dtype": "float32",
            "metric": "euclidean",
            "root": str(entries.root.absolute()),
            "rows": len(entries.paths),
            "class_names": list(entries.class_names),
            "asked_backend": backend or manifest["asked_backend"],
            "backend": searcher.backend,
            "settings": searcher.settings,
            "agreement": None if agreement is None else vars(agreement),
            "parts": [_described(name, entries)],
            "deleted": None,
        },
    )
    return open_index(folder)


def _described(name: str, entries: IndexEntries) -> dict[str, Any]:
    return {"name": name, "rows": len(entries.paths)}


def _checked(entries: IndexEntries) -> IndexEntries:
    vectors = checked_vectors("entries.vectors", entries.vectors)
    counts = {len(vectors), len(entries.paths), len(entries.labels)}
    if len(counts) > 1:
        raise InputError(
            f"`entries` holds {len(vectors)} vectors, {len(entries.paths)} paths and "
            f"{len(entries.labels)} labels; each image needs one of each."
        )
    paths, times = np.unique(entries.paths, return_counts=True)
    if (times > entries.rows_per_image).any():
        twice = str(paths[times > entries.rows_per_image][0])
        raise InputError(f"`entries.paths` holds {twice!r} twice; each image needs its own.")
    return replace(
        entries,
        vectors=vectors,
        paths=np.asarray(entries.paths, np.str_),
        labels=np.asarray(entries.labels, np.int64),
    )


def _for_index(entries: IndexEntries, index: VectorIndex) -> IndexEntries:
    """The entries that an index lacks; new classes follow the classes of the index."""
    if entries.vectors.shape[1] != index.dim:
        raise InputError(
            f"`entries.vectors` has width {entries.vectors.shape[1]}, the index "
            f"{str(index.folder)!r} {index.dim}; both must come from the same embedding space."
        )
    paths = index.named(entries.paths, entries.root)
    new = index.lacks(paths)
    more = (name for name in entries.class_names if name not in index.class_names)
    names = (*index.class_names, *more)
    number = np.array([*(names.index(name) for name in entries.class_names), -1], np.int64)
    return IndexEntries(
        entries.vectors[new], paths[new], number[entries.labels[new]], names, index.root
    )


def _living(index: VectorIndex, *, without: np.ndarray | None = None) -> IndexEntries:
    """Loads the living entries of an index."""
    rows = index.rows
    return _stored(index, rows if without is None else np.setdiff1d(rows, without))


def _stored(index: VectorIndex, rows: np.ndarray) -> IndexEntries:
    paths = np.array(index.paths(rows), np.str_)
    return IndexEntries(
        index.vectors(rows), paths, index.labels(rows), index.class_names, index.root
    )


def _joined(first: IndexEntries, second: IndexEntries) -> IndexEntries:
    return IndexEntries(
        np.concatenate([first.vectors, second.vectors]),
        np.concatenate([first.paths, second.paths]),
        np.concatenate([first.labels, second.labels]),
        second.class_names,
        first.root,
    )
