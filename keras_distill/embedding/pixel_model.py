"""Model that takes decoded images."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_distill.data.image_set import ImageSet
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.data.views import centre_view
from keras_distill.embedding.batches import embed_batches
from keras_distill.embedding.chain_model import ChainModel
from keras_distill.teachers.teacher import Teacher

_RUNTIMES = {".tflite": "LiteRT", ".onnx": "ONNX Runtime"}


class PixelModel(ChainModel):
    """Model that takes decoded images, or the ids of images, as `load_teacher` loads it.

    Args:
        name: See `ChainModel`.
        path: See there; for a run directory, the model in it.
        model: The model.
        image_size: Height and width of its input, in pixels.
    """

    def __init__(self, name: str, path: Path, model: Teacher, image_size: int):
        self.name = name
        self.path = path / "student.keras" if (path / "student.keras").is_file() else path
        self.model = model
        self.mirror_averaged = model.mirror_averaged
        if isinstance(model.owner, keras.Model):
            self.parameters = model.owner.count_params()
        if model.needs_ids:
            self.route = (
                "the ids of images in a table of vectors, which takes no time and has no size"
            )
            self._embedded_size = 1
            return
        self.image_size = self._embedded_size = image_size
        self.route = "the centre of each image, decoded as in evaluation"
        self.from_pixels = model
        self.runtime = model.runtime
        kind = "Keras" if isinstance(model.owner, keras.Model) else "SavedModel"
        self.timed_in = _RUNTIMES.get(path.suffix, kind)
        self.from_jpeg = tf.function(
            self._from_jpeg, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
        )

    @property
    def megabytes(self) -> float | None:
        """See the base class."""
        return None if self.model.needs_ids else super().megabytes

    def embed(
        self, images: ImageSet, *, batch_size: int, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """See the base class."""
        batches = evaluation_batches(images, image_size=self._embedded_size, batch_size=batch_size)
        vectors, _ = embed_batches(self.model, batches, on_batch=on_batch, finite=False)
        return vectors

    def _from_jpeg(self, data: tf.Tensor) -> tf.Tensor:
        size = self._embedded_size
        spec = tf.TensorSpec([size, size, 3], tf.uint8)
        return self.model(
            tf.map_fn(lambda one: centre_view(one, size), data, fn_output_signature=spec)
        )
