"""Memory on disk of the image files that have been decoded without error."""

import functools
import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from keras_distill.data.file_stamps import Stamp, file_stamps
from keras_distill.data.image_set import ImageSet
from keras_distill.errors import InputError
from keras_distill.publishing import published_file

#: Images that it takes a second or so to decode; fewer are not worth a file.
WORTHWHILE = 1000

_DAMAGE = (  # what NumPy and zipfile raise, wherever a bit has flipped
    *(OSError, ValueError, KeyError, EOFError, TypeError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


class VerifiedFiles:
    """The files of an image set, and which of them passed when they were checked before.

    A file is known by its path, size and time of change. Only files that passed are remembered: a
    file that failed is checked again, since the disk or the network may have been at fault. Sets of
    one folder, such as its splits, share a memory. If it is damaged or cannot be written, a warning
    says so and files are checked as if for the first time.

    Args:
        folder: Folder of the memories of all image folders.
        images: The images, whose files are stat'ed.
        *provenance: Whatever else the result of the check depends on; each has a memory of its own.

    Example:
        >>> files = VerifiedFiles(Path("cache"), images, 10**8)  # doctest: +SKIP
        >>> files.remember(files.known() | newly_decoded)  # doctest: +SKIP
    """

    def __init__(self, folder: Path, images: ImageSet, *provenance: Any):
        key = repr((str(images.root.resolve()), *provenance)).encode("utf-8", "surrogateescape")
        name = hashlib.blake2b(key, digest_size=12).hexdigest()
        self.file = folder / f"verified-{name}.npz"
        self._paths: list[str] = images.paths.tolist()
        # Before any file is read: what changes while it is read will be read again.
        self._stamps = file_stamps(images)

    def known(self) -> np.ndarray:
        """Tells which files passed before and have not changed since, bool `(n,)`."""
        passed = self._read()
        found = [
            stamp is not None and passed.get(path) == stamp
            for path, stamp in zip(self._paths, self._stamps, strict=True)
        ]
        return np.array(found, bool)

    def remember(self, passed: np.ndarray) -> None:
        """Adds files to the memory.

        Args:
            passed: Which files passed, bool `(n,)`; those of other sets are kept.
        """
        memory = self._read()
        for row in np.flatnonzero(passed):
            if (stamp := self._stamps[row]) is not None:
                memory[self._paths[row]] = stamp
        try:
            with published_file(self.file) as temporary:
                np.savez(
                    temporary,
                    paths=np.frombuffer("\0".join(memory).encode(), np.uint8),
                    stamps=np.array(list(memory.values()), np.int64).reshape(-1, 2),
                )
        except InputError as error:
            _warn_once(f"The images will be decoded again at the next start: {error}")

    def _read(self) -> dict[str, Stamp]:
        try:
            with self.file.open("rb") as opened, np.load(opened) as arrays:
                joined = arrays["paths"].tobytes().decode()
                stamps = arrays["stamps"].T.tolist()
            paths = joined.split("\0") if joined else []
            return dict(zip(paths, zip(*stamps, strict=True), strict=True))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except _DAMAGE as error:
            _warn_once(f"{self.file} is damaged and made again; all images are decoded: {error}")
            return {}


@functools.cache
def _warn_once(message: str) -> None:
    logging.warning("%s", message)
