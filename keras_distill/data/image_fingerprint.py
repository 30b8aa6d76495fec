"""Hash of a list of images, including the bytes of their files."""

import hashlib
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from keras_distill.data.file_stamps import Stamp, file_stamps
from keras_distill.data.image_set import ImageSet
from keras_distill.errors import InputError


def images_fingerprint(images: ImageSet) -> str:
    """Hashes the relative paths and the contents of images, in their order.

    Args:
        images: The images.

    Returns:
        32 hexadecimal digits; labels and the place of the folder do not count.

    Raises:
        InputError: If a file cannot be read.
    """
    total = hashlib.blake2b(digest_size=16)
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter's lock
        digests = pool.map(_file_digest, (images.root / path for path in images.paths))
        for path, digest in zip(images.paths, digests, strict=True):
            total.update(str(path).encode() + b"\0" + digest)
    return total.hexdigest()


_COMPUTED: weakref.WeakKeyDictionary[ImageSet, str] = weakref.WeakKeyDictionary()
_STAMPS: weakref.WeakKeyDictionary[ImageSet, list[Stamp | None]] = weakref.WeakKeyDictionary()


def images_fingerprint_once(images: ImageSet) -> str:
    """Returns `images_fingerprint(images)`, computed once for an `ImageSet`, which may be large."""
    if images not in _COMPUTED:
        _STAMPS[images] = file_stamps(images)  # before any file is read
        _COMPUTED[images] = images_fingerprint(images)
    return _COMPUTED[images]


def check_unchanged(images: ImageSet, rows: Sequence[int] | np.ndarray) -> None:
    """Checks that images are still what `images_fingerprint_once` has hashed.

    Only size and time of change are compared; all files are read again if they differ.

    Args:
        images: The images.
        rows: The rows to look at.

    Raises:
        InputError: If one has changed since.
    """
    fingerprint, before = images_fingerprint_once(images), _STAMPS[images]
    now = file_stamps(images.select(np.asarray(rows)))
    changed = [row for row, stamp in zip(rows, now, strict=True) if stamp != before[row]]
    if not changed:
        return
    stamps = file_stamps(images)
    if images_fingerprint(images) != fingerprint:
        path = images.root / images.paths[changed[0]]
        raise InputError(
            f"{str(path)!r} was changed by another program while it was in use. Start again once "
            "the images stay as they are; whatever was computed before and still holds is kept."
        )
    _STAMPS[images] = stamps


def _file_digest(path: Path) -> bytes:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    except OSError as error:
        raise InputError(f"{str(path)!r} could not be read: {error.strerror}.") from error
