"""A model of the chain: how it embeds images, and how it is timed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_distill.data.image_set import ImageSet


class ChainModel:
    """Anything that embeds image files.

    Attributes:
        name: What people call it.
        path: The file or folder that it was loaded from.
        image_size: Height and width of what it sees, in pixels; `None` if it decides that itself.
        parameters: Number of its weights; `None` if that cannot be known.
        from_jpeg: Embeds a batch of files, strings `(n,)`; `None` if it looks at no pixels.
        from_pixels: Embeds decoded images, uint8 `(n, size, size, 3)`, or `None`.
        runtime: As of `Teacher`; `None` if TensorFlow runs it.
        timed_in: What runs it when it is timed, such as `Keras` or `LiteRT`: times of one runtime
            are comparable with each other.
        route: How the images got into it, as a phrase.
    """

    name: str
    path: Path
    image_size: int | None = None
    parameters: int | None = None
    from_jpeg: Callable[[tf.Tensor], tf.Tensor] | None = None
    from_pixels: Callable[[tf.Tensor], tf.Tensor] | None = None
    runtime: Callable[[int], Callable[[np.ndarray], np.ndarray]] | None = None
    timed_in: str | None = None
    route: str = ""

    @property
    def megabytes(self) -> float | None:
        """What the file or the folder takes on disk; `None` for what is no model."""
        files = [self.path] if self.path.is_file() else self.path.rglob("*")
        return sum(file.stat().st_size for file in files if file.is_file()) / 1e6

    def embed(
        self, images: ImageSet, *, batch_size: int, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Embeds every image by its centre.

        Args:
            images: The images.
            batch_size: Images embedded at once.
            on_batch: Called with the number of images after each batch.

        Returns:
            The vectors as they come, also where they are not finite, float32 `(n, dim)`.
        """
        raise NotImplementedError
