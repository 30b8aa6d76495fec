"""Images on disk, of which something is known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_distill.data.image_set import ImageSet


@dataclass(frozen=True, eq=False)
class AnnotatedImages:
    """Images below one folder; subclasses add what is known of each image.

    Attributes:
        root: The folder.
        paths: Paths relative to `root`, with forward slashes, `(n,)`.
    """

    root: Path
    paths: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def unlabelled(self) -> ImageSet:
        """The images alone, for what needs no more, such as their decoding."""
        return ImageSet(self.root, self.paths, np.full(len(self), -1, np.int64), ())

    @property
    def ids(self) -> np.ndarray:
        """A number for each image, int64 `(n,)`, that depends on its relative path alone."""
        return self.unlabelled.ids
