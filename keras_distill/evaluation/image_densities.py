"""Density maps of whole images of any size."""

from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from keras_distill.data.decoding import decode_image
from keras_distill.data.image_set import ImageSet
from keras_distill.errors import InputError
from keras_distill.models.counter import DENSITY
from keras_distill.models.open_size import with_open_size
from keras_distill.models.product import by_name

#: Sides are padded to a multiple of this, the stride of the deepest backbones, in pixels.
MULTIPLE = 32


class ImageCounter:
    """Computes density maps of whole images by a model with the output `density`.

    The image is shown at its own resolution in one pass, and its last row and column of pixels
    are repeated up to a multiple of `MULTIPLE`.

    Args:
        model: The model, of square images of one size.

    Raises:
        InputError: If it has no density.
    """

    def __init__(self, model: keras.Model):
        outputs = by_name(model.output) or {}
        if DENSITY not in outputs:
            raise InputError(
                f"`model` {model.name!r} returns {', '.join(outputs)}, and no density; give a "
                "model of build_counter(), or a run of ranked_regression with points."
            )
        self.stride = model.input_shape[1] / outputs[DENSITY].shape[1]
        self._source, self._model = model, with_open_size(model)
        self._answer = tf.function(
            lambda image: self._model(image[None], training=False)[DENSITY][0, :, :, 0],
            input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)],
            autograph=False,
        )

    def __call__(
        self, images: ImageSet, on_image: Callable[[int], object] | None = None
    ) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
        """Computes the density maps by the present weights of the model.

        Args:
            images: The images.
            on_image: Called with 1 after each image, to show progress.

        Yields:
            The map, float32 `(rows, columns)`, of cells of `stride` pixels from the left upper
            corner, which may extend beyond the image; and the height and width of the image, in
            pixels.

        Raises:
            InputError: If a density is not finite.
        """
        self._model.set_weights(self._source.get_weights())

        @tf.autograph.experimental.do_not_convert
        def pixels(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            image = decode_image(tf.io.read_file(file))
            shape = tf.shape(image)[:2]
            for axis in range(2):
                padded = -(-shape[axis] // MULTIPLE) * MULTIPLE
                places = tf.minimum(tf.range(padded), shape[axis] - 1)
                image = tf.gather(image, places, axis=axis)
            return image, shape

        batches = tf.data.Dataset.from_tensor_slices(tf.constant(images.files()))
        for image, shape in batches.map(pixels, num_parallel_calls=2).prefetch(2):
            found = self._answer(image).numpy()
            if not np.isfinite(found).all():
                raise InputError(
                    "`model` returned densities that are not finite; it diverged in training, or "
                    "its weights are damaged."
                )
            if on_image is not None:
                on_image(1)
            height, width = shape.numpy().tolist()
            yield found, (height, width)
