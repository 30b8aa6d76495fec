"""Input pipeline of images of one class each, for a classifier."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_distill.data.epoch_sampler import EpochSampler
from keras_distill.data.image_set import ImageSet
from keras_distill.data.pipeline import training_batches


def image_batches(
    images: ImageSet,
    *,
    batch_size: int,
    seed: int = 0,
    teacher_logits: Callable[[Any], Any] | None = None,
    **options: Any,
) -> tf.data.Dataset:
    """Endless batches of randomly cropped and mirrored images, each image once an epoch.

    Batch `s` is a function of `(seed, s)`: its rows and their views come from `EpochSampler`, and a
    view of an image from `(seed, id, view)`, as in `training_batches`.

    Args:
        images: The images.
        batch_size: Rows in a batch, of all replicas.
        seed: Seed of the batches and of the views.
        teacher_logits: From a teacher's embeddings `(rows, dim)` to its logits, for batches that
            have `teacher_embedding`.
        **options: Arguments of `training_batches`, such as `image_size`, `least_area`, `views`,
            `teacher_embedding`, `first_step` and `replicas`.

    Returns:
        Batches `(x, y)`: `x` a dict of `image` uint8 `(rows, image_size, image_size, 3)`, `id` and
        `row`, the number of the image in `images`, int64 `(rows,)`, and maybe `teacher_image`,
        `teacher_embedding` and `teacher_logits`; `y` the labels, int64 `(rows,)`.

    Raises:
        InputError: If there are no images, or an option cannot be used.
    """
    order = np.argsort(images.ids)
    ids, rows = tf.constant(images.ids[order]), tf.constant(order, tf.int64)

    @tf.autograph.experimental.do_not_convert
    def numbered(x: dict[str, Any], y: tf.Tensor) -> tuple[dict[str, Any], tf.Tensor]:
        x["row"] = tf.gather(rows, tf.searchsorted(ids, x["id"]))
        if teacher_logits is not None and "teacher_embedding" in x:
            x["teacher_logits"] = teacher_logits(x["teacher_embedding"])
        return x, y

    batches = training_batches(
        images,
        steps_per_epoch=1,  # the sampler numbers the views
        classes_per_batch=0,
        sampler=EpochSampler(len(images), batch_size=batch_size, seed=seed),
        seed=seed,
        **options,
    )
    return batches.map(numbered, num_parallel_calls=tf.data.AUTOTUNE)
