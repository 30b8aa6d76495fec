"""Base class of the models in a ledger's chain."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_distill.data.image_set import ImageSet


class ChainModel:
    """A model that embeds image files and can be timed.

    Attributes:
        name: Its name for people, such as `student`.
        path: The file or folder that it was loaded from.
        image_size: Height and width of its input, in pixels; `None` if it resizes images itself.
        parameters: Number of its weights; `None` if unknown.
        from_jpeg: Embeds a batch of files, strings `(n,)`; `None` if it reads no pixels.
        from_pixels: Embeds decoded images, uint8 `(n, size, size, 3)`, or `None`.
        runtime: See `Teacher`; `None` if TensorFlow runs it.
        timed_in: Runtime that it is timed in, such as `Keras` or `LiteRT`; only times of the same
            runtime are comparable.
        mirror_averaged: Whether its vectors are means over an image and its mirror image, as far as
            is known.
        route: How images are passed to it, as a phrase.
    """

    name: str
    path: Path
    image_size: int | None = None
    parameters: int | None = None
    from_jpeg: Callable[[tf.Tensor], tf.Tensor] | None = None
    from_pixels: Callable[[tf.Tensor], tf.Tensor] | None = None
    runtime: Callable[[int], Callable[[np.ndarray], np.ndarray]] | None = None
    timed_in: str | None = None
    mirror_averaged: bool = False
    route: str = ""

    @property
    def megabytes(self) -> float | None:
        """Size of the file or folder on disk; `None` if it is no model."""
        files = [self.path] if self.path.is_file() else self.path.rglob("*")
        return sum(file.stat().st_size for file in files if file.is_file()) / 1e6

    def embed(
        self, images: ImageSet, *, batch_size: int, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Embeds the centre of every image.

        Args:
            images: The images.
            batch_size: Images embedded at once.
            on_batch: Called with the number of images after each batch.

        Returns:
            The vectors, unchanged even where they are not finite, float32 `(n, dim)`.
        """
        raise NotImplementedError
