"""Manifest of an index: the files in use; replacing it changes the index."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from keras_distill.errors import InputError
from keras_distill.publishing import check_own_folder, published_file, remedy

Used = TypeVar("Used")
FORMAT = 1
#: Folder next to the parts for the embeddings of a build that is not complete.
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


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads the manifest of an index.

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
            f"`folder={folder}` holds no index; make one with `build_index` or "
            "`python -m keras_distill.index build`."
        )
    try:
        manifest = json.loads(path.read_text())
        if manifest["format"] > FORMAT:
            raise InputError(
                f"`folder={folder}` was written by keras_distill {manifest['keras_distill']} in a "
                "format that this version does not know; update keras_distill."
            )
        damaged = [name for name, kind in _NEEDED.items() if not isinstance(manifest[name], kind)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise unreadable(path, error) from error
    if damaged:
        raise damage(path, f"has no sensible {damaged[0]!r}")
    return manifest


def consistently(folder: Path, use: Callable[[dict[str, Any]], Used]) -> Used:
    """Uses the files of an index as a single manifest names them.

    Args:
        folder: The index.
        use: Takes a manifest and opens the files that it names. It is called again with the next
            manifest if another process changes the index meanwhile and so removes files.

    Returns:
        The return value of `use`.

    Raises:
        InputError: If there is no index, or it is damaged.
    """
    while True:
        manifest = read_manifest(folder)
        try:
            return use(manifest)
        except InputError:
            if read_manifest(folder) == manifest:
                raise


def check_files(folder: Path, manifest: dict[str, Any]) -> None:
    """Compares the sizes of all files with the sizes that the manifest records.

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
            raise damage(folder / name, "is missing") from error
        if found != size:
            raise damage(folder / name, f"has {found} bytes in place of {size}")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lets one process at a time change an index, and removes files that a killed process left.

    Args:
        folder: The index, or the folder for it, which is made if it does not exist.

    Raises:
        InputError: If the folder holds something else, or cannot be written.
    """
    try:
        check_free(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK)
        lock.acquire()
    except OSError as error:
        raise InputError(
            f"`folder={folder}` cannot be written: {error.strerror}. {remedy(error, '')}".rstrip()
        ) from error
    try:
        _sweep(folder)
        yield
    finally:
        lock.release()


def check_free(folder: Path) -> None:
    """Refuses a folder in which an index would be mixed with other files.

    Args:
        folder: The folder, which need not exist.

    Raises:
        InputError: If it is a file, or a folder with something else.
    """
    check_own_folder(folder, _OURS)


def free_name(folder: Path, kind: str) -> str:
    """Returns a name, `part-N` or `deleted-N`, with a higher number than any in use."""
    numbers = [path.stem.partition("-")[2] for path in folder.iterdir()]
    return f"{kind}-{1 + max((int(n) for n in numbers if n.isdecimal()), default=0):04d}"


def commit(folder: Path, manifest: dict[str, Any]) -> None:
    """Publishes a manifest, which changes the index at once.

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
    """Removes the parts that are not in use."""
    keep: set[str] = set()
    if (folder / "manifest.json").exists():
        try:
            keep = _named(read_manifest(folder))
        except InputError:
            return  # unknown which are in use
    for path in folder.iterdir():
        if path.name.startswith(("part-", "deleted-", ".tmp-")) and path.name not in keep:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def unreadable(path: Path, error: Exception, how: str = "cannot be read") -> InputError:
    """Returns the error about a file that could not be read, damaged or not.

    A limit of open files that is reached is no damage, and has another remedy.

    Args:
        path: The file.
        error: The exception that reading it raised, in whatever library.
        how: The fault of a damaged file, such as "cannot be read".
    """
    if os.strerror(errno.EMFILE) in str(error):
        limit = OSError(errno.EMFILE, "")
        return InputError(f"{str(path)!r} could not be read: {error}. {remedy(limit, '')}")
    return damage(path, f"{how} ({error!r})")


def damage(path: Path, how: str) -> InputError:
    """Returns the error about a damaged file.

    Args:
        path: The file.
        how: Its fault, such as "is missing".
    """
    return InputError(
        f"the index is damaged: {str(path)!r} {how}. Build it again with `overwrite=True`."
    )


def sync(path: Path) -> None:
    """Flushes a file to disk; otherwise a power cut could leave its name without the content."""
    if path.is_file() and not path.is_symlink():
        with path.open("rb") as file:
            os.fsync(file.fileno())
