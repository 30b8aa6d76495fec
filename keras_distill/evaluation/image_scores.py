"""Scores of images, each a mean over seeded crops or that of the whole image."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_distill.data.decoding import decode_image
from keras_distill.data.image_set import ImageSet
from keras_distill.data.pipeline import view_seed
from keras_distill.data.square_crops import seeded_crops
from keras_distill.errors import InputError
from keras_distill.models.loading import input_size
from keras_distill.models.open_size import with_open_size
from keras_distill.models.product import by_name
from keras_distill.models.score_scale import SCORE

#: Crops of an image in the paper.
CROPS = 30


class ImageScorer:
    """Scores images by a model with the output `score`.

    The crops have the size of the model's images and the resolution of the file, and lie where
    (seed, image) says, so that a score never depends on other images.

    Args:
        model: The model.
        crops: Crops whose mean is the score of an image; 0 for the whole image at once.
        seed: Seed of the crops.

    Raises:
        InputError: If the model has no score, or takes images of any size.
    """

    def __init__(self, model: keras.Model, *, crops: int = CROPS, seed: int = 0):
        if SCORE not in (by_name(model.output) or {}):
            raise InputError(
                f"`model` {model.name!r} returns {', '.join(by_name(model.output) or {})}, and no "
                "score; give a model of build_scorer(), or a run of ranked_regression."
            )
        size = input_size(model)
        if size is None and crops:
            raise InputError(f"`model` {model.name!r} takes images of any size; give `crops=0`.")
        self._crops, self._size, self._seed = crops, size or 0, seed
        self._source = model
        self._model = model if crops else with_open_size(model)
        self._answer = tf.function(
            lambda images: self._model(images, training=False)[SCORE][:, 0],
            input_signature=[tf.TensorSpec([None, *self._model.input_shape[1:]], tf.uint8)],
            autograph=False,
        )

    def __call__(
        self, images: ImageSet, on_image: Callable[[int], object] | None = None
    ) -> np.ndarray:
        """Scores images by the present weights of the model.

        Args:
            images: The images.
            on_image: Called with 1 after each image, to show progress.

        Returns:
            Scores, float32 `(n,)`.

        Raises:
            InputError: If a score is not finite.
        """
        if self._model is not self._source:
            self._model.set_weights(self._source.get_weights())
        scores = []
        for pixels in self._pixels(images):
            scores.append(float(tf.reduce_mean(self._answer(pixels))))
            if on_image is not None:
                on_image(1)
        found = np.array(scores, np.float32)
        if not np.isfinite(found).all():
            raise InputError(
                "`model` returned scores that are not finite; it diverged in training, or its "
                "weights are damaged."
            )
        return found

    def _pixels(self, images: ImageSet) -> tf.data.Dataset:
        numbers = tf.range(self._crops, dtype=tf.int64)

        @tf.autograph.experimental.do_not_convert
        def pixels(file: tf.Tensor, id: tf.Tensor) -> tf.Tensor:
            image = decode_image(tf.io.read_file(file))
            if not self._crops:
                return image[None]
            # Training counts its views from 0.
            seeds = view_seed(self._seed, -1 - numbers, tf.repeat(id, self._crops))
            return seeded_crops(image, seeds, self._size)

        columns = (tf.constant(images.files()), tf.constant(images.ids))
        return (
            tf.data.Dataset.from_tensor_slices(columns)
            .map(pixels, num_parallel_calls=2)
            .prefetch(2)
        )


def score_images(
    model: keras.Model, images: ImageSet, *, crops: int = CROPS, **options: Any
) -> Any:
    """Scores images once; see `ImageScorer`, also for the arguments.

    Args:
        model: The model.
        images: The images.
        crops: Crops of an image; 0 for the whole.
        **options: `on_image` of its call.

    Returns:
        Scores, float32 `(n,)`.
    """
    return ImageScorer(model, crops=crops)(images, **options)
