"""Images that two sets share, under whatever names."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

from keras_distill.data.file_stamps import file_stamps
from keras_distill.data.image_set import ImageSet


def common_images(images: ImageSet, others: ImageSet, *, copies: bool = True) -> list[str]:
    """Lists the images of a set that another set holds too.

    Only files of equal size are looked at more closely.

    Args:
        images: The images.
        others: The other set.
        copies: Whether files with the same bytes count too, not only the same files and links to
            them.

    Returns:
        Full paths of those images of `images` that are in `others`, sorted.
    """
    ours, theirs = _by_size(images), _by_size(others)
    sizes = sorted(ours.keys() & theirs.keys())
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda size: _common(ours[size], theirs[size], copies), sizes)
        return sorted(path for paths in found for path in paths)


def _common(paths: list[str], others: list[str], copies: bool) -> list[str]:
    same = set(map(os.path.realpath, others))
    contents = {_digest(path) for path in others} if copies else set()
    return [
        path
        for path in paths
        if os.path.realpath(path) in same or (copies and _digest(path) in contents)
    ]


def _by_size(images: ImageSet) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for path, stamp in zip(images.paths.tolist(), file_stamps(images), strict=True):
        if stamp is not None:
            found.setdefault(stamp[0], []).append(str(images.root / path))
    return found


def _digest(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()
