"""List of labelled images on disk."""

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_distill.data.image_files import (
    CONVERSION,
    describe_other_formats,
    image_files,
    list_image_files,
    warn_of_other_formats,
)
from keras_distill.errors import InputError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images below one folder.

    Attributes:
        root: The folder.
        paths: Paths relative to `root`, with forward slashes, `(n,)`.
        labels: Index of each image's class in `class_names`, int64 `(n,)`; -1 for unlabelled.
        class_names: Names of all classes of the data set, also of those without images here.
    """

    root: Path
    paths: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def classes(self) -> np.ndarray:
        """The classes that have labelled images here, sorted, int64."""
        return np.unique(self.labels[self.labels >= 0])

    @property
    def ids(self) -> np.ndarray:
        """A number for each image, int64 `(n,)`, that depends on its relative path alone."""
        return np.array([image_id(path) for path in self.paths], np.int64)

    @functools.cached_property
    def digest(self) -> str:
        """Hashes the paths and labels, on which the batches of a training depend."""
        digest = hashlib.blake2b("\n".join(self.paths).encode(), digest_size=16)
        digest.update(self.labels.tobytes())
        return digest.hexdigest()

    def files(self) -> list[str]:
        """Returns the absolute path of each image, distinct from images of other folders."""
        root = self.root.resolve()
        return [f"{root}/{path}" for path in self.paths]

    def select(self, chosen: np.ndarray) -> "ImageSet":
        """Returns the images that a boolean mask or an index array chooses."""
        return ImageSet(self.root, self.paths[chosen], self.labels[chosen], self.class_names)

    def of_classes(self, classes: range) -> "ImageSet":
        """Returns the images of a range of classes."""
        return self.select((self.labels >= classes.start) & (self.labels < classes.stop))

    def without_labels(self) -> "ImageSet":
        """Returns the images without classes, so that no class can lose all of its images."""
        return ImageSet(self.root, self.paths, np.full(len(self), -1, np.int64), ())

    def with_unlabelled(self, images: "ImageSet") -> "ImageSet":
        """Returns these images and then others, whose labels become -1.

        Images of another folder are named by their path relative to this one, such as
        `../more/a/1.jpg`, so that ids stay distinct.
        """
        same = self.root.resolve() == images.root.resolve()
        return ImageSet(
            self.root if same else self.root.resolve(),  # ".." must not lead out of a link
            np.concatenate([self.paths, paths_from(self.root, images.root, images.paths)]),
            np.concatenate([self.labels, np.full(len(images), -1, np.int64)]),
            self.class_names,
        )


def paths_from(base: Path, root: Path, paths: np.ndarray) -> np.ndarray:
    """Names images by their path relative to another folder.

    Args:
        base: The other folder.
        root: The folder that `paths` are relative to.
        paths: Relative paths, `(n,)`.

    Returns:
        The same paths if both are one folder, such as `../more/a/1.jpg` otherwise.
    """
    here, there = base.resolve(), root.resolve()
    if here == there:
        return np.asarray(paths, np.str_)
    prefix = Path(os.path.relpath(there, here))
    return np.array([(prefix / path).as_posix() for path in paths], np.str_)


def image_id(path: str) -> int:
    """Returns the id of an image: a number that depends on its relative path alone.

    Args:
        path: Path relative to the folder of the data set, with forward slashes.

    Returns:
        A number from 0 to 2^63 - 1.

    Example:
        >>> image_id("cat/1.jpg")
        1801658481409032297
    """
    digest = hashlib.blake2b(path.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1  # non-negative as int64


def read_folder(root: str | Path) -> ImageSet:
    """Lists the images of a folder that has one sub-folder a class.

    Sub-folders in alphabetical order are the classes 0, 1, 2, ...; images may lie deeper, and
    links are followed. Hidden files, and files that are neither JPEG nor PNG by their suffix, are
    skipped; a warning counts images of other formats.

    Args:
        root: The folder.

    Returns:
        The images, sorted by class and path.

    Raises:
        InputError: If there is no such folder, a class folder is empty, or there are no classes.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(
            f"dataset folder {str(root)!r} does not exist; give folder:PATH with one sub-folder of "
            "JPEG or PNG images for each class."
        )
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise InputError(f"dataset folder {str(root)!r} has no sub-folders; it needs one a class.")
    paths: list[str] = []
    labels: list[int] = []
    others: list[str] = []
    for label, folder in enumerate(folders):
        other: list[str] = []
        files = sorted(f"{folder.name}/{path}" for path, _ in image_files(folder, other.append))
        if not files:
            why = describe_other_formats(other)
            raise InputError(
                f"class folder {str(folder)!r} has no JPEG or PNG images; "
                + (f"{why}. {CONVERSION}" if why else "fill it or remove it.")
            )
        others += [f"{folder.name}/{path}" for path in other]
        paths += files
        labels += [label] * len(files)
    warn_of_other_formats(root, others)
    return ImageSet(
        root, np.array(paths), np.array(labels, np.int64), tuple(f.name for f in folders)
    )


def read_pictures(root: str | Path) -> ImageSet:
    """Lists the images anywhere below a folder, which need no classes.

    The class of an image is the first folder of its path; images directly in `root` have none.
    Links are followed. Hidden files, and files that are neither JPEG nor PNG by their suffix, are
    skipped; a warning counts images of other formats.

    Args:
        root: The folder.

    Returns:
        The images, sorted by path; the classes in alphabetical order.

    Raises:
        InputError: If there is no such folder or no image below it.
    """
    root = Path(root)
    files = list_image_files(root) if root.is_dir() else []
    if not files:
        raise InputError(f"folder {str(root)!r} has no JPEG or PNG images.")
    of = [path.partition("/")[0] if "/" in path else "" for path in files]
    names = sorted(set(of) - {""})
    number = {name: label for label, name in enumerate(names)} | {"": -1}
    labels = np.array([number[name] for name in of], np.int64)
    return ImageSet(root, np.array(files), labels, tuple(names))
