"""Pictures of a folder, a named data set or a pattern, also millions of them."""

import functools
import glob
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_distill.data.dataset import DEFAULT_DATA_DIR, find_images
from keras_distill.data.image_files import (
    OTHER_SUFFIXES,
    SUFFIXES,
    image_files,
    warn_of_loop,
    warn_of_other_formats,
)
from keras_distill.data.image_set import ImageSet
from keras_distill.errors import InputError, renamed_arguments


@dataclass(frozen=True, eq=False)
class PictureList:
    """Pictures below one folder, in the order of their paths; a million of them take 160 MB.

    The class of a picture is the first folder of its path.

    Attributes:
        root: The folder.
        paths: Paths relative to `root`, with forward slashes, sorted.
        sizes: Bytes of each file, int64 `(n,)`.
        class_names: Names of the classes, in alphabetical order.
    """

    root: Path
    paths: list[str]
    sizes: np.ndarray
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    @functools.cached_property
    def _label(self) -> dict[str, int]:
        return {name: label for label, name in enumerate(self.class_names)}

    @property
    def fingerprint(self) -> str:
        """Hash of the paths and sizes; reading the contents too would double the work."""
        total = hashlib.blake2b(digest_size=16)
        for path, size in zip(self.paths, self.sizes.tolist(), strict=True):
            total.update(f"{path}\0{size}\0".encode("utf-8", "surrogateescape"))
        return total.hexdigest()

    def images(self, rows: range) -> ImageSet:
        """Returns some of the pictures as images of their classes, -1 for none."""
        paths = self.paths[rows.start : rows.stop]
        labels = [self._label[path.partition("/")[0]] if "/" in path else -1 for path in paths]
        return ImageSet(self.root, np.array(paths), np.array(labels, np.int64), self.class_names)


def list_pictures(images: str, *, data_dir: str | Path = DEFAULT_DATA_DIR) -> PictureList:
    """Lists pictures.

    Args:
        images: A folder; else the name of a data set, as of `load_dataset`; else a pattern such as
            `photos/**/*.jpg`, whose paths count from the last folder without `*`, `?` or `[`.
        data_dir: Where data sets lie, or are put.

    Returns:
        The JPEG and PNG files, by their suffixes.

    Raises:
        InputError: If there are none, or a folder cannot be read.

    Example:
        >>> len(list_pictures("photos/*/*.jpg"))  # doctest: +SKIP
        1500
    """
    others: list[str] = []
    if glob.has_magic(images) and not Path(images).expanduser().is_dir():
        root, found = _matching(os.path.expanduser(images), others)
    else:
        root = Path(images).expanduser()
        if not root.is_dir():
            with renamed_arguments(name="images"):
                root = find_images(images, data_dir).root
        try:
            found = [
                (path, entry.stat().st_size) for path, entry in image_files(root, others.append)
            ]
        except OSError as error:
            raise InputError(f"`images={images!r}` cannot be read: {error}.") from error
    warn_of_other_formats(root, others)
    return _listed(root, found, images)


def _matching(pattern: str, others: list[str]) -> tuple[Path, list[tuple[str, int]]]:
    """The folder of a pattern, and the paths and sizes of the images; collects other images."""
    parts = Path(pattern).parts
    wild = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:wild])
    start = len(os.path.join(root, "")) if wild else 0

    @functools.cache
    def turns_back(folder: str) -> bool:
        """Whether a link in the path of a folder leads back to a folder above it."""
        above = os.path.dirname(folder)
        if above in (folder, "") or turns_back(above):
            return above not in (folder, "")
        inner, outer = os.path.realpath(above), os.path.realpath(folder)
        back = os.path.islink(folder) and os.path.commonpath([inner, outer]) == outer
        if back:
            warn_of_loop(folder)
        return back

    found = []
    # A second ** finds again what the first one has found.
    for path in set(glob.iglob(os.path.join(*parts), recursive=True)):
        if turns_back(os.path.dirname(path)):
            continue
        if path.lower().endswith(SUFFIXES) and os.path.isfile(path):
            found.append((path[start:], os.stat(path).st_size))
        elif path.lower().endswith(OTHER_SUFFIXES):
            others.append(path[start:])
    return root, found


def _listed(root: Path, found: list[tuple[str, int]], images: str) -> PictureList:
    if not found:
        raise InputError(f"`images={images!r}` has no JPEG or PNG images.")
    found.sort()
    paths = [path for path, _ in found]
    sizes = np.fromiter((size for _, size in found), np.int64, len(found))
    classes = {path.partition("/")[0] for path in paths if "/" in path}
    return PictureList(root, paths, sizes, tuple(sorted(classes)))
