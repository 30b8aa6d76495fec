"""The version numbers of an exported model, none of which is used twice."""

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from absl import logging
from filelock import FileLock, Timeout

from keras_distill.errors import InputError
from keras_distill.publishing import published_file, published_folder

# TF-Serving passes over whatever is not named by a number.
_RECORD, _LOCK = ".published_versions", ".export.lock"
_LEFTOVER = re.compile(r"\.tmp-\d+-\w+")  # of `published_folder`


@contextlib.contextmanager
def published_version(base: Path, version: int | None = None) -> Iterator[tuple[int, Path]]:
    """Writes a new version of a model, which appears by a rename when the block ends without error.

    One process at a time writes into `base`; others wait. What a killed one left is removed. A
    number stays used when its folder is deleted: TF-Serving never loads a number again.

    Args:
        base: Folder of the model, which holds its versions; made if it is not there.
        version: The number; by default one more than the highest ever used.

    Yields:
        The number, and the temporary folder to write into.

    Raises:
        InputError: If the number is not positive or was used before, or the place cannot be
            written.

    Example:
        >>> with published_version(Path("models/birds")) as (version, folder):  # doctest: +SKIP
        ...     (folder / "saved_model.pb").write_bytes(b"...")
    """
    if version is not None and version < 1:
        raise InputError(_refusal(base, version, "is not positive"))
    with _locked(base):
        used = _used(base)
        number = 1 + max(used, default=0) if version is None else version
        if number in used:
            gone = "exists" if number in _present(base) else "existed before"
            raise InputError(_refusal(base, number, gone))
        with published_folder(base / str(number), keep_existing=False) as folder:
            yield number, folder
            # Before the rename: a number that was never published costs nothing.
            with published_file(base / _RECORD) as temporary:
                temporary.write_text("".join(f"{n}\n" for n in sorted(used | {number})))


def _refusal(base: Path, version: int, what: str) -> str:
    return (
        f"version={version} of {str(base)!r} {what}; leave it out to take the next free one. "
        "TF-Serving never reloads a number."
    )


@contextlib.contextmanager
def _locked(base: Path) -> Iterator[None]:
    lock = FileLock(base / _LOCK)
    try:
        base.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logging.warning("Another export writes into %s; waiting until it has ended.", base)
            lock.acquire()
    except OSError as error:
        raise InputError(
            f"{str(base)!r} could not be written ({error.strerror or error}); choose another place."
        ) from error
    try:
        for left in base.iterdir():
            if _LEFTOVER.fullmatch(left.name) and left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        lock.release()


def _present(base: Path) -> set[int]:
    return {int(path.name) for path in base.iterdir() if path.name.isdecimal()}


def _used(base: Path) -> set[int]:
    record = base / _RECORD
    try:
        recorded = {int(line) for line in record.read_text().split()} if record.exists() else set()
    except ValueError as error:
        raise InputError(
            f"{str(record)!r} does not list numbers ({error}), so that no number can be known to "
            "be free; write the versions that have ever been published into it, one a line."
        ) from error
    return recorded | _present(base)
