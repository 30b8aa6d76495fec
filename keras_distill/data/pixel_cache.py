"""Cache of decoded views of images, so that training decodes nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_distill.data.image_set import ImageSet
from keras_distill.data.view_cache import ViewCache


class PixelCache(ViewCache):
    """The pixels of the views that `training_batches` shows, on disk.

    Args:
        images: The images.
        folder: Folder of all caches; this one lies in a sub-folder.
        image_size: Height and width of a view, in pixels.
        views: Different views of an image.
        least_area: Least share of an image's area in a crop; see `random_views`.
        seed: Seed of the views.

    Raises:
        InputError: If the folder cannot be written.
    """

    title = "image cache"

    def __init__(
        self,
        images: ImageSet,
        folder: str | Path,
        *,
        image_size: int,
        views: int = 8,
        least_area: float = 0.08,
        seed: int = 0,
    ):
        super().__init__(
            images,
            folder,
            image_size=image_size,
            views=views,
            least_area=least_area,
            seed=seed,
            outputs={"image": (image_size, image_size, 3)},
            dtype=np.uint8,
            provenance={},
        )

    def compute(self, pixels: tf.Tensor, ids: tf.Tensor, paths: np.ndarray) -> dict[str, Any]:
        """Returns the pixels; see the base class."""
        return {"image": pixels.numpy()}

    def lookup(self, rows: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        """Returns views; to be used in a tf.data pipeline.

        Args:
            rows: Rows of `images`, int64 `(batch,)`.
            views: View of each, int64 `(batch,)`.

        Returns:
            uint8 tensor `(batch, image_size, image_size, 3)`.
        """
        return self.read("image", rows, views)
