"""List of images with a score each, such as their quality."""

import functools
import hashlib
from dataclasses import dataclass, replace

import numpy as np

from keras_distill.data.annotated_images import AnnotatedImages


@dataclass(frozen=True, eq=False)
class ScoredImages(AnnotatedImages):
    """Images below one folder, each with a score or without one.

    Attributes:
        root: The folder.
        paths: Paths relative to `root`, with forward slashes, `(n,)`.
        scores: Scores, float32 `(n,)`; NaN for an image that nobody scored.
        references: Name of what each image shows, `(n,)`, such as the photograph that it was made
            from: images of one reference are never divided between splits. Its own path if empty in
            the file.
        distortions: Name of the distortion of each image, `(n,)`; empty where it is not known.
        splits: `train`, `validation` or `test` of each image, `(n,)`, empty for none; `None` if the
            data set is not split.
        higher_is_better: Whether a higher score is a better one; not so for LIVE and CSIQ.
    """

    scores: np.ndarray
    references: np.ndarray
    distortions: np.ndarray
    splits: np.ndarray | None = None
    higher_is_better: bool = True

    @property
    def groups(self) -> np.ndarray:
        """What may not be divided between splits: the references."""
        return self.references

    @functools.cached_property
    def digest(self) -> str:
        """Hashes paths and scores, on which a training depends."""
        digest = hashlib.blake2b("\n".join(self.paths).encode(), digest_size=16)
        digest.update(np.float32(self.scores).tobytes())
        return digest.hexdigest()

    @property
    def scored(self) -> "ScoredImages":
        """The images that have a score."""
        return self.select(np.isfinite(self.scores))

    def select(self, chosen: np.ndarray) -> "ScoredImages":
        """Returns the images that a boolean mask or an index array chooses."""
        return replace(
            self,
            paths=self.paths[chosen],
            scores=self.scores[chosen],
            references=self.references[chosen],
            distortions=self.distortions[chosen],
            splits=None if self.splits is None else self.splits[chosen],
        )
