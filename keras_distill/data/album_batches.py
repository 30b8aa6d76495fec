"""Input pipeline of albums, as vectors or as images of their photographs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_distill.data.album_sampler import AlbumSampler
from keras_distill.data.albums import Albums
from keras_distill.data.pipeline import training_batches


def album_batches(
    albums: Albums,
    sampler: AlbumSampler,
    *,
    image_size: int | None = None,
    outputs: Sequence[str] = ("logits",),
    first_step: int = 0,
    replicas: int = 1,
    own_replicas: range = range(1),
    **views: Any,
) -> tf.data.Dataset:
    """Endless batches of albums with their targets.

    Batch `s` is a function of `(seed, s)`: its albums and their photographs come from the sampler,
    and the view of a photograph from `(seed, id, view)`, as in `training_batches`.

    Args:
        albums: The albums, with or without vectors.
        sampler: Draws albums and photographs.
        image_size: Height and width of the images, in pixels, where there are no vectors.
        outputs: Names of the outputs whose targets are those of the albums.
        first_step: Step of the first batch.
        replicas: Parts that the albums of a batch are dealt to; a divisor of their number.
        own_replicas: The parts to make: for each step the first of them, then the next.
        **views: Further arguments of `training_batches` on the views of images: `least_area`,
            `augment`, `degrade`, `seed`.

    Returns:
        Batches `(x, y)`: `x` a dict of `vectors` float32 `(rows, n, dim)`, or `image` uint8 `(rows,
        n, image_size, image_size, 3)`; and `mask` bool `(rows, n)`; `y` a dict by output of the
        targets in {1, 0, -1}, int8 `(rows, labels)`.

    Raises:
        ValueError: If the albums cannot be dealt to the replicas, or have neither vectors nor a
            size.
    """
    left_over = sampler.batch_size % replicas
    if left_over:
        raise ValueError(f"{left_over} albums are left over when dealt to `replicas={replicas}`.")
    own = np.arange(own_replicas.start, own_replicas.stop)

    @tf.autograph.experimental.do_not_convert
    def parts_of_step(step: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return tuple(_dealt(column, replicas, own) for column in sampler.rows(step)[:3])

    parts = tf.data.Dataset.range(first_step, tf.int64.max).map(
        parts_of_step, num_parallel_calls=tf.data.AUTOTUNE
    )
    parts = parts.unbatch()
    if albums.vectors is not None:
        found = _with_vectors(parts, albums.vectors)
    elif image_size is None:
        raise ValueError("`image_size` is needed where albums have no vectors.")
    else:
        images = training_batches(
            albums.photographs,
            image_size=image_size,
            steps_per_epoch=1,  # the sampler numbers the views
            classes_per_batch=0,
            sampler=_Photographs(sampler, replicas),
            first_step=first_step,
            replicas=replicas,
            own_replicas=own_replicas,
            **views,
        )
        found = _with_images(parts, images)
    targets = tf.constant(albums.targets, tf.int8)

    @tf.autograph.experimental.do_not_convert
    def with_targets(x: dict[str, tf.Tensor], rows: tf.Tensor) -> Any:
        return x, dict.fromkeys(outputs, tf.gather(targets, rows))

    return found.map(with_targets).prefetch(tf.data.AUTOTUNE)


def _with_vectors(parts: tf.data.Dataset, vectors: np.ndarray) -> tf.data.Dataset:
    """Adds the vectors of the photographs; returns `x` and the rows of the albums."""
    table = tf.constant(vectors, tf.float32)

    @tf.autograph.experimental.do_not_convert
    def gathered(rows: tf.Tensor, photographs: tf.Tensor, mask: tf.Tensor) -> Any:
        return {"vectors": tf.gather(table, photographs), "mask": mask}, rows

    return parts.map(gathered, num_parallel_calls=tf.data.AUTOTUNE)


def _with_images(parts: tf.data.Dataset, images: tf.data.Dataset) -> tf.data.Dataset:
    """Puts the photographs of each album together; returns `x` and the rows of the albums."""

    @tf.autograph.experimental.do_not_convert
    def grouped(batch: Any, part: Any) -> Any:
        (x, _), (rows, _, mask) = batch, part
        shape = [*mask.shape, *x["image"].shape[1:]]
        return {"image": tf.reshape(x["image"], shape), "mask": mask}, rows

    zipped = tf.data.Dataset.zip(images, parts)
    return zipped.map(grouped, num_parallel_calls=tf.data.AUTOTUNE)


class _Photographs:
    """The photographs of a step, in an order that is dealt to the replicas by whole albums."""

    def __init__(self, sampler: AlbumSampler, replicas: int):
        self.batch_size = sampler.batch_size * sampler.photographs
        self._sampler = sampler
        self._replicas = replicas

    def rows(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        _, rows, _, views = self._sampler.rows(step)
        each = (rows, tf.broadcast_to(views[:, None], tf.shape(rows)))
        # A part for each replica, then the first photograph of each part, the second, and so on.
        dealt = (_dealt(column, self._replicas, np.arange(self._replicas)) for column in each)
        flat = [
            tf.reshape(tf.transpose(tf.reshape(part, [self._replicas, -1])), [-1]) for part in dealt
        ]
        return tf.ensure_shape(flat[0], [self.batch_size]), flat[1]


def _dealt(column: tf.Tensor, replicas: int, own: np.ndarray) -> tf.Tensor:
    """Deals the albums of a batch like cards; `(len(own), albums / replicas, ...)`."""
    rest = column.shape[1:]
    dealt = tf.reshape(column, [-1, replicas, *rest])
    order = [1, 0, *range(2, 2 + len(rest))]
    return tf.gather(tf.transpose(dealt, order), own)
