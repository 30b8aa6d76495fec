"""List of images with several labels each, on disk."""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from keras_distill.data.annotated_images import AnnotatedImages
from keras_distill.errors import InputError

#: Names of the splits.
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class MultiLabelImages(AnnotatedImages):
    """Images below one folder, each with any number of labels.

    Attributes:
        root: The folder.
        paths: Paths relative to `root`, with forward slashes, `(n,)`.
        targets: int8 `(n, c)`: 1 where the image has the label, 0 where it has not, -1 where nobody
            annotated it.
        class_names: Names of the labels, `(c,)`.
        splits: `train`, `validation` or `test` of each image, `(n,)`, empty for none; `None` if the
            data set is not split.
    """

    targets: np.ndarray
    class_names: tuple[str, ...]
    splits: np.ndarray | None = None

    @property
    def positives(self) -> np.ndarray:
        """The number of images that have each label, int64 `(c,)`."""
        return (self.targets == 1).sum(axis=0, dtype=np.int64)

    @functools.cached_property
    def digest(self) -> str:
        """Hashes paths, targets and class names, on which a training depends."""
        digest = hashlib.blake2b("\n".join(self.paths).encode(), digest_size=16)
        digest.update("\n".join(("", *self.class_names)).encode())
        digest.update(np.ascontiguousarray(self.targets).tobytes())
        return digest.hexdigest()

    def select(self, chosen: np.ndarray) -> "MultiLabelImages":
        """Returns the images that a boolean mask or an index array chooses."""
        splits = None if self.splits is None else self.splits[chosen]
        return replace(self, paths=self.paths[chosen], targets=self.targets[chosen], splits=splits)

    def of_split(self, split: str) -> "MultiLabelImages":
        """Returns the images of a split.

        Args:
            split: `train`, `validation` or `test`.

        Returns:
            The images, in their order.

        Raises:
            InputError: If the data set is not split, or has no such images.
        """
        if self.splits is None:
            raise InputError(
                f"`split={split!r}`: the data set is not split; add a column `split`, give one "
                "file a split, or leave `split` out and use `stratified_split`."
            )
        chosen = self.splits == split
        if not chosen.any():
            found = ", ".join(name for name in SPLITS if (self.splits == name).any())
            raise InputError(f"`split={split!r}` has no images; there are images of: {found}.")
        return self.select(chosen)

    def of_classes(self, class_names: Sequence[str]) -> "MultiLabelImages":
        """Returns the same images with some of the labels, in the given order.

        Args:
            class_names: Names of the labels.

        Returns:
            All images, also those that have none of these labels.

        Raises:
            InputError: If a name is unknown or given twice.

        Example:
            >>> from pathlib import Path
            >>> targets = np.array([[1, 0, 1]], np.int8)
            >>> images = MultiLabelImages(
            ...     Path(), np.array(["a.jpg"]), targets, ("cat", "dog", "cow")
            ... )
            >>> images.of_classes(["cow", "dog"]).targets
            array([[1, 0]], dtype=int8)
        """
        place = {name: column for column, name in enumerate(self.class_names)}
        if unknown := [name for name in class_names if name not in place]:
            raise InputError(
                f"`class_names` holds {unknown[0]!r}, which is none of the {len(place)} classes."
            )
        if len(set(class_names)) < len(class_names):
            twice = next(name for name in class_names if list(class_names).count(name) > 1)
            raise InputError(f"`class_names` holds {twice!r} twice.")
        columns = [place[name] for name in class_names]
        return replace(self, targets=self.targets[:, columns], class_names=tuple(class_names))
