"""The files of an index: parts that never change, and a manifest that says which of them count."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from keras_distill.errors import InputError
from keras_distill.publishing import check_own_folder, published_file, published_folder

FORMAT = 1
#: What an index may hold beside its parts: embeddings of a build that is not complete.
UNFINISHED = ".embedded"
_LOCK = ".lock"
_OURS = ("part-", "deleted-", ".tmp-", "manifest.json", UNFINISHED, _LOCK)
_NEEDED: dict[str, Any] = {
    "embedder": (str, type(None)),
    "dim": int,
    "rows": int,
    "root": str,
    "class_names": list,
    "backend": str,
    "settings": dict,
    "parts": list,
    "files": dict,
    "deleted": (str, type(None)),
}


@dataclass(frozen=True, eq=False)
class IndexEntries:
    """What an index is made of, a row for each image.

    Attributes:
        vectors: float array `(n, dim)`.
        paths: Paths of the images relative to `root`, with forward slashes, `(n,)`; their ids.
        labels: Index of each image's class in `class_names`, integers `(n,)`; -1 for none.
        class_names: Names of the classes.
        root: Folder of the images.
    """

    vectors: np.ndarray
    paths: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    root: Path


class IndexPart:
    """The rows that were written at once, memory-mapped.

    Args:
        folder: The part's folder.
        rows: Rows that it must have.
        dim: Width that its vectors must have.

    Raises:
        InputError: If a file is damaged.
    """

    def __init__(self, folder: Path, rows: int, dim: int):
        self.folder = folder
        self.vectors = _mapped(folder / "vectors.npy", (rows, dim), np.float32)
        self.labels = _mapped(folder / "labels.npy", (rows,), np.int64)
        self.ids = _mapped(folder / "ids.npy", (rows,), np.bytes_)


def write_part(folder: Path, entries: IndexEntries, searcher: Any = None) -> None:
    """Writes a part of an index; it appears complete or not at all.

    Args:
        folder: The part's folder, which must not exist.
        entries: Its rows.
        searcher: The `Searcher` of these vectors whose assets are kept too.

    Raises:
        InputError: If the disk is full.
    """
    with published_folder(folder, keep_existing=False) as temporary:
        np.save(temporary / "vectors.npy", np.ascontiguousarray(entries.vectors, np.float32))
        np.save(temporary / "labels.npy", np.asarray(entries.labels, np.int64))
        np.save(temporary / "ids.npy", np.char.encode(entries.paths, "utf-8"))
        if searcher is not None:
            try:
                searcher.save(temporary / searcher.backend)
            except RuntimeError as error:  # how ScaNN says that the disk is full
                raise OSError(str(error)) from error
        for file in temporary.rglob("*"):
            sync(file)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads what an index consists of.

    Args:
        folder: The index.

    Returns:
        The manifest.

    Raises:
        InputError: If there is no index, or its manifest is damaged or of a later version.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise InputError(
            f"{str(folder)!r} holds no index; make one with `python -m keras_distill.index build`."
        )
    try:
        manifest = json.loads(path.read_text())
        if manifest["format"] > FORMAT:
            raise InputError(
                f"{str(folder)!r} was made by keras_distill {manifest['keras_distill']}, whose "
                "format this version does not know; update keras_distill."
            )
        damaged = [name for name, kind in _NEEDED.items() if not isinstance(manifest[name], kind)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise _damage(path, f"cannot be read ({error!r})") from error
    if damaged:
        raise _damage(path, f"has no sensible {damaged[0]!r}")
    return manifest


def check_files(folder: Path, manifest: dict[str, Any]) -> None:
    """Compares the sizes of all files with those that were written.

    Args:
        folder: The index.
        manifest: Its manifest.

    Raises:
        InputError: If a file is missing or truncated.
    """
    for name, size in manifest["files"].items():
        try:
            found = (folder / name).stat().st_size
        except OSError as error:
            raise _damage(folder / name, "is missing") from error
        if found != size:
            raise _damage(folder / name, f"has {found} bytes in place of {size}")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lets one process at a time change an index, and removes what a killed one left.

    Args:
        folder: The index, or where it shall be; made if it is not there.

    Raises:
        InputError: If the folder holds something else, or cannot be written.
    """
    check_free(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK)
        lock.acquire()
    except OSError as error:
        raise InputError(f"{str(folder)!r} cannot be written: {error.strerror}.") from error
    try:
        _sweep(folder)
        yield
    finally:
        lock.release()


def check_free(folder: Path, *, argument: str = "folder") -> None:
    """Refuses a place for an index where other files would be mixed with it.

    Args:
        folder: The place.
        argument: Name of the argument that an error message should name.

    Raises:
        InputError: If it is a file, or a folder with something else.
    """
    check_own_folder(folder, _OURS, argument=argument)


def free_name(folder: Path, kind: str) -> str:
    """Returns a name, `part-N` or `deleted-N`, with a higher number than any that counts."""
    numbers = [path.stem.partition("-")[2] for path in folder.iterdir()]
    return f"{kind}-{1 + max((int(n) for n in numbers if n.isdecimal()), default=0):04d}"


def commit(folder: Path, manifest: dict[str, Any]) -> None:
    """Makes a manifest count: the moment at which an index changes.

    Args:
        folder: The index, whose files the manifest names.
        manifest: The manifest; the sizes of the files are added.

    Raises:
        InputError: If the disk is full.
    """
    files = [folder / name for name in _named(manifest)]
    files = [file for top in files for file in (top.rglob("*") if top.is_dir() else [top])]
    sizes = {
        file.relative_to(folder).as_posix(): file.stat().st_size
        for file in sorted(files)
        if file.is_file() and not file.is_symlink()
    }
    with published_file(folder / "manifest.json") as temporary:
        temporary.write_text(json.dumps({**manifest, "files": sizes}, indent=2) + "\n")
        sync(temporary)
    _sweep(folder)


def _named(manifest: dict[str, Any]) -> set[str]:
    return {part["name"] for part in manifest["parts"]} | {manifest["deleted"]} - {None}


def _sweep(folder: Path) -> None:
    """Removes the parts that do not count."""
    keep: set[str] = set()
    if (folder / "manifest.json").exists():
        try:
            keep = _named(read_manifest(folder))
        except InputError:
            return  # nobody knows what counts
    for path in folder.iterdir():
        if path.name.startswith(("part-", "deleted-", ".tmp-")) and path.name not in keep:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _mapped(path: Path, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy has many kinds
        raise _damage(path, f"cannot be read ({error})") from error
    if array.shape != shape or not np.issubdtype(array.dtype, dtype):
        raise _damage(path, f"holds {array.dtype} {array.shape} in place of {shape}")
    return array


def _damage(path: Path, how: str) -> InputError:
    return InputError(
        f"the index is damaged: {str(path)!r} {how}. Build it anew, with --overwrite."
    )


def sync(path: Path) -> None:
    """Brings a file to the disk, or a power cut could leave its name without the content."""
    if path.is_file() and not path.is_symlink():
        with path.open("rb") as file:
            os.fsync(file.fileno())
