"""Input pipeline of images with a score, or with points that are counted."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_distill.data.decoding import decode_image
from keras_distill.data.density_maps import density_map, sigma_in_file
from keras_distill.data.pipeline import dealt_rows, view_seed
from keras_distill.data.point_images import PointImages
from keras_distill.data.random_order import uniform
from keras_distill.data.scored_images import ScoredImages
from keras_distill.data.square_crops import cut_out, square_window
from keras_distill.data.unlabelled_sampler import UnlabelledSampler


def regression_batches(
    images: ScoredImages | PointImages,
    *,
    image_size: int,
    batch_size: int,
    sides: Sequence[float] | None = None,
    cells: int = 0,
    sigma: float = 15.0,
    seed: int = 0,
    first_step: int = 0,
    replicas: int = 1,
    own_replicas: range = range(1),
) -> tf.data.Dataset:
    """Endless batches of square crops with their scores, or with their density maps.

    Batch `s` is a function of `(seed, s)`, and a crop of `(seed, id, view)`: the images are visited
    in random order, each once before any repeats, and show their next view each time. A crop is
    mirrored in half of the views.

    Args:
        images: The images.
        image_size: Height and width of `image`, in pixels.
        batch_size: Rows in a batch, of all replicas.
        sides: Least and greatest side of a crop, in pixels of the file; by default `image_size`,
            so that no pixel is resized.
        cells: Rows and columns of the density maps, for `PointImages`.
        sigma: Standard deviation of a point, in pixels of the original photograph.
        seed: Seed of the batches and of the crops.
        first_step: Step of the first batch.
        replicas: Parts that the rows of a batch are dealt to; a divisor of their number.
        own_replicas: The parts to make: for each step the first of them, then the next.

    Returns:
        Batches `(x, y)`: `x` a dict of `image` uint8 `(rows, image_size, image_size, 3)` and `id`
        int64 `(rows,)`; `y` the scores, float32 `(rows, 1)`, or the density maps, float32
        `(rows, cells, cells, 1)`.

    Raises:
        InputError: If there are no images.
    """
    chosen_sides = (image_size, image_size) if sides is None else tuple(sides)
    sampler = UnlabelledSampler(len(images), batch_size=batch_size, seed=seed)
    files, ids = tf.constant(images.unlabelled.files()), tf.constant(images.ids)
    target_of = _scores(images) if isinstance(images, ScoredImages) else _maps(images, cells, sigma)
    part = batch_size // replicas

    @tf.autograph.experimental.do_not_convert
    def rows_of_step(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        views = (step * batch_size + tf.range(batch_size, dtype=tf.int64)) // len(images)
        rows, views = (
            tf.reshape(dealt_rows(column, replicas, own_replicas), [len(own_replicas) * part])
            for column in (sampler.rows(step), views)
        )
        return rows, views

    @tf.autograph.experimental.do_not_convert
    def example(row: tf.Tensor, view: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        id = tf.gather(ids, row)
        image = decode_image(tf.io.read_file(tf.gather(files, row)))
        draws, shape = uniform(view_seed(seed, view, id), [4]), tf.shape(image)[:2]
        window = square_window(shape, draws[:3], chosen_sides)
        crop, target = cut_out(image, window, image_size), target_of(row, shape, window)
        mirrored = draws[3] < 0.5
        crop = tf.where(mirrored, tf.reverse(crop, [1]), crop)
        if len(target.shape) == 3:
            target = tf.where(mirrored, tf.reverse(target, [1]), target)
        return {"image": crop, "id": id}, target

    return (
        tf.data.Dataset.range(first_step, tf.int64.max)
        .map(rows_of_step)
        .unbatch()
        .map(example, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(part, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def _scores(images: ScoredImages):  # type: ignore[no-untyped-def]
    scores = tf.constant(images.scores, tf.float32)
    return lambda row, shape, window: tf.gather(scores, row)[None]


def _maps(images: PointImages, cells: int, sigma: float):  # type: ignore[no-untyped-def]
    points = tf.constant(np.concatenate([np.zeros((0, 2)), *images.points]), tf.float32)
    ends = tf.constant(np.cumsum([0, *map(len, images.points)]), tf.int64)
    sigmas = tf.constant([sigma_in_file(sigma, scale) for scale in images.scales], tf.float32)

    def target_of(row: tf.Tensor, shape: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
        own = points[ends[row] : ends[row + 1]]
        found = density_map(own, shape, window, sigma=tf.gather(sigmas, row), cells=(cells, cells))
        return tf.ensure_shape(found, [cells, cells, 1])

    return target_of
