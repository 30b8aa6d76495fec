"""List of images with points in them, such as the heads of a crowd."""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from keras_distill.data.annotated_images import AnnotatedImages


@dataclass(frozen=True, eq=False)
class PointImages(AnnotatedImages):
    """Images below one folder, each with any number of points.

    Attributes:
        root: The folder.
        paths: Paths relative to `root`, with forward slashes, `(n,)`.
        points: x and y of the points of each image, in pixels of the file, float32 `(points, 2)`.
        scales: Pixels of the file for each pixel of the original photograph, along a side, float64
            `(n,)`; 1 where the file is the original.
        splits: `train`, `validation` or `test` of each image, `(n,)`, empty for none; `None` if the
            data set is not split.
    """

    points: Sequence[np.ndarray]
    scales: np.ndarray
    splits: np.ndarray | None = None

    @property
    def counts(self) -> np.ndarray:
        """The number of points of each image, int64 `(n,)`."""
        return np.array([len(points) for points in self.points], np.int64)

    @property
    def groups(self) -> np.ndarray:
        """What may not be divided between splits: each image by itself."""
        return self.paths

    @functools.cached_property
    def digest(self) -> str:
        """Hashes paths, points and scales, on which a training depends."""
        digest = hashlib.blake2b("\n".join(self.paths).encode(), digest_size=16)
        for points in self.points:
            digest.update(np.float32(points).tobytes() + b"|")
        digest.update(np.float64(self.scales).tobytes())
        return digest.hexdigest()

    def select(self, chosen: np.ndarray) -> "PointImages":
        """Returns the images that a boolean mask or an index array chooses."""
        rows = np.arange(len(self))[chosen]
        return replace(
            self,
            paths=self.paths[rows],
            points=[self.points[row] for row in rows],
            scales=self.scales[rows],
            splits=None if self.splits is None else self.splits[rows],
        )
