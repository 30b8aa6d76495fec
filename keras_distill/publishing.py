"""Folders and files that appear complete or not at all."""

import contextlib
import errno
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from keras_distill.errors import InputError

#: Numbers of the errors of a process, or a machine, that may open no more files.
TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)


@contextlib.contextmanager
def published_folder(target: Path, *, keep_existing: bool = True) -> Iterator[Path]:
    """Writes a folder next to its place and moves it there when the block ends without error.

    A process that is killed leaves only a hidden `.tmp-*` sibling.

    Args:
        target: Where the folder shall be; its parents are made.
        keep_existing: What to do if another process was faster: keep its folder and drop this one
            without a word, or raise.

    Yields:
        The temporary folder to write into.

    Raises:
        InputError: If the place cannot be written, or the disk is full.

    Example:
        >>> with published_folder(Path("/tmp/example")) as folder:  # doctest: +SKIP
        ...     (folder / "vectors.npy").write_bytes(b"...")
    """
    with _clear_disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".tmp-{target.name}-{secrets.token_hex(4)}"
        temporary.mkdir()
        try:
            yield temporary
            try:
                temporary.rename(target)
            except OSError:
                if not (keep_existing and target.is_dir()):
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def published_file(target: Path) -> Iterator[Path]:
    """Writes a file next to its place and moves it there when the block ends without error.

    Args:
        target: Where the file shall be, replacing what is there; its parents are made.

    Yields:
        The temporary path to write to, with the same suffix as `target`.

    Raises:
        InputError: If the place cannot be written, or the disk is full.
    """
    with _clear_disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        # Processes of several machines may have one number.
        temporary = target.with_name(f".tmp-{secrets.token_hex(4)}-{target.name}")
        try:
            yield temporary
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def check_own_folder(folder: Path, ours: tuple[str, ...]) -> None:
    """Refuses a folder in which written files would be mixed with others.

    Args:
        folder: The folder, which need not exist.
        ours: Prefixes of the names of files that may be there.

    Raises:
        InputError: If it is a file, or a folder with something else.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"`folder={folder}` is a file; give a folder.")
    if folder.is_dir():
        foreign = [file.name for file in folder.iterdir() if not file.name.startswith(ours)]
        if foreign:
            raise InputError(
                f"`folder={folder}` holds other files, such as {min(foreign)!r}; give a folder "
                "of its own."
            )


def remedy(error: OSError, otherwise: str) -> str:
    """Returns a sentence on what to do where a file could not be read or written.

    Args:
        error: Why it could not.
        otherwise: The sentence where files that are open are not the reason.

    Returns:
        The sentence.

    Example:
        >>> remedy(OSError(errno.EMFILE, "Too many open files"), "Free some space.")
        'Raise the limit of open files, such as by `ulimit -n 4096`.'
    """
    if error.errno in TOO_MANY_FILES:
        return "Raise the limit of open files, such as by `ulimit -n 4096`."
    return otherwise


@contextlib.contextmanager
def _clear_disk_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{str(target)!r} could not be written ({error.strerror or error}); nothing was left "
            f"there half-written. " + remedy(error, "Free some space or choose another place.")
        ) from error
