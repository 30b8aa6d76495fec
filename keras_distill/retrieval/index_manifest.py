"""The manifest of an index: it says which files count, and changing it changes the index."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from keras_distill.errors import InputError, renamed_arguments
from keras_distill.publishing import check_own_folder, published_file, remedy

Used = TypeVar("Used")
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
        raise unreadable(path, error) from error
    if damaged:
        raise damage(path, f"has no sensible {damaged[0]!r}")
    return manifest


def consistently(folder: Path, use: Callable[[dict[str, Any]], Used]) -> Used:
    """Does something with an index as one manifest describes it.

    Args:
        folder: The index.
        use: Takes a manifest and opens the files that it names. It is called again with the next
            manifest if another process changes the index meanwhile, which removes files.

    Returns:
        What `use` returned.

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
            raise damage(folder / name, "is missing") from error
        if found != size:
            raise damage(folder / name, f"has {found} bytes in place of {size}")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lets one process at a time change an index, and removes what a killed one left.

    Args:
        folder: The index, or where it shall be; made if it is not there.

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
            f"{str(folder)!r} cannot be written: {error.strerror}. {remedy(error, '')}".rstrip()
        ) from error
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
    with renamed_arguments(folder=argument.removeprefix("--")):
        check_own_folder(folder, _OURS)


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


def unreadable(path: Path, error: Exception, how: str = "cannot be read") -> InputError:
    """Returns the error of a file that could not be read, which too many open files do not damage.

    Args:
        path: The file.
        error: What reading it raised, by whatever library.
        how: What the message says of a file that is damaged.
    """
    if os.strerror(errno.EMFILE) in str(error):
        limit = OSError(errno.EMFILE, "")
        return InputError(f"{str(path)!r} could not be read: {error}. {remedy(limit, '')}")
    return damage(path, f"{how} ({error!r})")


def damage(path: Path, how: str) -> InputError:
    """Returns the error of a file that is not what it should be.

    Args:
        path: The file.
        how: What is wrong with it.
    """
    return InputError(
        f"the index is damaged: {str(path)!r} {how}. Build it anew, with --overwrite."
    )


def sync(path: Path) -> None:
    """Brings a file to the disk, or a power cut could leave its name without the content."""
    if path.is_file() and not path.is_symlink():
        with path.open("rb") as file:
            os.fsync(file.fileno())
