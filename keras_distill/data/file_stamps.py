"""Stamps of image files, size and time of change, to notice changes without reading them."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from keras_distill.data.image_set import ImageSet

Stamp: TypeAlias = tuple[int, int]  # size in bytes, time of the last change in ns
_CHUNK = 1000


def file_stamps(images: ImageSet) -> list[Stamp | None]:
    """Looks up the size and the time of change of each image file.

    Args:
        images: The images.

    Returns:
        A stamp for each image; `None` for a file that is not there.
    """
    root, paths = str(images.root), images.paths.tolist()

    def of_chunk(begin: int) -> list[Stamp | None]:
        return [_stamp(f"{root}/{path}") for path in paths[begin : begin + _CHUNK]]

    with ThreadPoolExecutor() as pool:  # a disk of the network answers many at once
        chunks = pool.map(of_chunk, range(0, len(paths), _CHUNK))
        return [stamp for chunk in chunks for stamp in chunk]


def stamps_digest(images: ImageSet) -> str:
    """Hashes the stamps of images in their order.

    Args:
        images: The images.

    Returns:
        32 hexadecimal digits.
    """
    return hashlib.blake2b(repr(file_stamps(images)).encode(), digest_size=16).hexdigest()


def _stamp(file: str) -> Stamp | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
