"""Input pipelines: from images on disk to batches in memory."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_distill.data.class_sampler import ClassSampler
from keras_distill.data.decoding import image_area
from keras_distill.data.degradation_syntax import parse_degradations
from keras_distill.data.image_degradation import degrade as degraded
from keras_distill.data.image_set import ImageSet
from keras_distill.data.pixel_limit import MAX_PIXELS
from keras_distill.data.unlabelled_sampler import UnlabelledSampler
from keras_distill.data.views import centre_view, random_views


def training_batches(
    images: ImageSet,
    *,
    image_size: int,
    steps_per_epoch: int,
    classes_per_batch: int = 8,
    images_per_class: int = 8,
    unlabelled_per_batch: int = 0,
    views_per_image: int = 1,
    teacher_image_size: "int | Mapping[str, int] | None" = None,
    least_area: float = 0.08,
    degrade: str = "",
    views: int | None = None,
    cached_image: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
    teacher_embedding: Callable[[tf.Tensor, tf.Tensor], Any] | None = None,
    teacher_features: Callable[[tf.Tensor, tf.Tensor], Any] | None = None,
    seed: int = 0,
    first_step: int = 0,
    replicas: int = 1,
    own_replicas: range = range(1),
) -> tf.data.Dataset:
    """Endless batches of P classes x K randomly cropped and mirrored images.

    Batch `s` is a function of `(seed, s)`: its rows come from `ClassSampler`, and the view of an
    image from `(seed, id, view)`. In epoch `e = s // steps_per_epoch` every image shows its view
    `e`, or `e mod views`; with V views of an image in a batch, `V e` to `V e + V - 1`.

    Args:
        images: The images.
        image_size: Height and width of `image`, in pixels.
        steps_per_epoch: Batches in an epoch.
        classes_per_batch: Classes in a batch, P.
        images_per_class: Images of each class in a batch, K.
        unlabelled_per_batch: Rows of images labelled -1 that follow the P x K labelled ones, drawn
            by `UnlabelledSampler`.
        views_per_image: Views of each image in a batch, V, in rows next to each other: each batch
            has V times as many rows.
        teacher_image_size: Height and width of `teacher_image`, the same crop for the teacher; a
            dict by name if there are several teachers; `None` if they see `image`.
        least_area: Least share of an image's area in a crop; see `random_views`.
        degrade: Degradation of `image`, not of `teacher_image`, such as
            `"low_resolution:32,jpeg:20"`; see `parse_degradations`. A teacher that is evaluated
            then needs a `teacher_image`, also of the same size: there is one if neither
            `teacher_image_size` nor `teacher_embedding` is given; of several teachers name all.
        views: Different views of an image; `None` for a new one in each epoch.
        cached_image: Maps rows of `images` and their views, int64 `(rows,)`, to their pixels, such
            as `PixelCache.lookup`; then nothing is decoded.
        teacher_embedding: Maps rows of `images` and their views, int64 `(rows,)`, to the teacher's
            embeddings, such as `TeacherCache.lookup`.
        teacher_features: The same for the feature maps of hint and attention layers, such as
            `TeacherCache.lookup_features`.
        seed: Seed of the batches and of the views.
        first_step: Step of the first batch.
        replicas: Parts that the rows of a batch are dealt to like cards, so that each has images of
            as many classes as it can; a divisor of their number.
        own_replicas: The parts to make: for each step the first of them, then the next.

    Returns:
        Batches `(x, y)`: `x` a dict of `image` uint8 `(rows, image_size, image_size, 3)`, `id`
        int64 `(rows,)` and maybe `teacher_image` and `teacher_embedding`; `y` the labels, int64
        `(rows,)`, -1 for unlabelled.

    Raises:
        InputError: If there are too few classes for a batch, or a degradation is unknown.
        ValueError: If images are cached, but a teacher needs them at another size, or if there are
            fewer different views than views of an image in a batch.
    """
    degradations = parse_degradations(degrade, image_size=image_size)
    if degradations and teacher_image_size is None and teacher_embedding is None:
        teacher_image_size = image_size
    labelled = np.flatnonzero(images.labels >= 0)
    sampler = ClassSampler(
        images.labels[labelled],
        classes_per_batch=classes_per_batch,
        images_per_class=images_per_class,
        seed=seed,
    )
    unlabelled_sampler = None
    if unlabelled_per_batch:
        unlabelled = np.flatnonzero(images.labels < 0)
        unlabelled_sampler = UnlabelledSampler(
            len(unlabelled), batch_size=unlabelled_per_batch, seed=seed
        )
    if not 1 <= views_per_image <= (views or views_per_image):
        raise ValueError(f"`views_per_image={views_per_image}` must be from 1 to `views={views}`.")
    images_per_batch = sampler.batch_size + unlabelled_per_batch
    part_size, left_over = divmod(images_per_batch * views_per_image, replicas)
    if left_over:
        raise ValueError(f"{left_over} rows are left over when dealt to `replicas={replicas}`.")
    columns = _columns(images)
    _, ids, labels = columns
    several = isinstance(teacher_image_size, Mapping)
    named: Mapping[str, int | None] = (
        teacher_image_size if isinstance(teacher_image_size, Mapping) else {"": teacher_image_size}
    )
    teacher_sizes = {name: size for name, size in named.items() if size is not None}
    sizes = list(dict.fromkeys([image_size, *teacher_sizes.values()]))
    if cached_image is not None and sizes != [image_size]:
        raise ValueError(
            "`cached_image` holds no teacher_image of another size; leave `teacher_image_size` out."
        )

    @tf.autograph.experimental.do_not_convert
    def rows_of_step(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        shown = step // steps_per_epoch * views_per_image + np.arange(views_per_image)
        shown = shown if views is None else shown % views
        rows = tf.gather(labelled, sampler.rows(step))
        if unlabelled_sampler is not None:
            more = tf.gather(unlabelled, unlabelled_sampler.rows(step))
            rows = tf.concat([rows, more], axis=0)
        each = tf.repeat(rows, views_per_image), tf.tile(shown, [images_per_batch])

        def deal(values: tf.Tensor) -> tf.Tensor:
            dealt = tf.reshape(values, [-1, replicas])[:, own_replicas.start : own_replicas.stop]
            return tf.reshape(tf.transpose(dealt), [len(own_replicas) * part_size])

        return deal(each[0]), deal(each[1])

    @tf.autograph.experimental.do_not_convert
    def with_columns(rows: tf.Tensor, views: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return rows, views, *(tf.gather(column, rows) for column in columns)

    @tf.autograph.experimental.do_not_convert
    def example(
        row: tf.Tensor, view: tf.Tensor, file: tf.Tensor, id: tf.Tensor, label: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, dict[str, Any], tf.Tensor]:
        pixels = _view(file, id, view, seed, sizes, least_area)
        image = worse(pixels[image_size], id, view)
        return row, view, {"image": image, "id": id, **for_teacher(pixels)}, label

    def worse(image: tf.Tensor, id: tf.Tensor, view: tf.Tensor) -> tf.Tensor:
        return degraded(image, degradations, _view_seed(seed, view, id))

    def for_teacher(pixels: Mapping[int, tf.Tensor]) -> dict[str, Any]:
        good = {name: pixels[size] for name, size in teacher_sizes.items()}
        return {"teacher_image": good if several else good[""]} if good else {}

    def look_up(
        rows: tf.Tensor, views: tf.Tensor, x: dict[str, Any] | None = None, y: Any = None
    ) -> tuple[dict[str, Any], tf.Tensor]:
        if x is None:
            assert cached_image is not None
            image, id = cached_image(rows, views), tf.gather(ids, rows)
            x, y = {"id": id, **for_teacher({image_size: image})}, tf.gather(labels, rows)
            if degradations:
                each = (image, id, views)
                image = tf.map_fn(lambda one: worse(*one), each, fn_output_signature=tf.uint8)
            x["image"] = image
        if teacher_embedding is not None:
            x = {**x, "teacher_embedding": teacher_embedding(rows, views)}
        if teacher_features is not None:
            x = {**x, "teacher_features": teacher_features(rows, views)}
        return x, y

    batches = tf.data.Dataset.range(first_step, tf.int64.max).map(
        rows_of_step, num_parallel_calls=tf.data.AUTOTUNE
    )
    if cached_image is None:
        # Columns are gathered for the whole batch: per image, such small operations cost the most.
        batches = (
            batches.map(with_columns)
            .unbatch()
            .map(example, num_parallel_calls=tf.data.AUTOTUNE)
            .batch(part_size, drop_remainder=True)
        )
        return batches.map(look_up).prefetch(tf.data.AUTOTUNE)
    if len(own_replicas) > 1:
        batches = batches.rebatch(part_size, drop_remainder=True)
    return batches.map(look_up, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def view_batches(
    images: ImageSet,
    *,
    image_size: int,
    view: int | None,
    least_area: float = 0.08,
    seed: int = 0,
    rows: range | None = None,
    batch_size: int = 64,
) -> tf.data.Dataset:
    """One view of each image in order, the one that `training_batches` shows.

    Args:
        images: The images.
        image_size: Height and width, in pixels.
        view: Number of the view; `None` for the centre, as in `evaluation_batches`.
        least_area: Least share of an image's area in a crop; see `random_views`.
        seed: Seed of the views.
        rows: The rows of `images` to go through; all of them by default.
        batch_size: Rows in a batch; the last may have fewer.

    Returns:
        Batches `(image, id)`, uint8 `(rows, image_size, image_size, 3)` and int64 `(rows,)`.
    """
    if rows is not None:
        images = images.select(np.arange(rows.start, rows.stop))

    pixels_of = _pixels_of_view(image_size, seed, least_area, centre=view is None)
    number = tf.constant(view or 0, tf.int64)

    @tf.autograph.experimental.do_not_convert
    def example(file: tf.Tensor, id: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.ensure_shape(pixels_of(file, id, number), [image_size, image_size, 3]), id

    return (
        tf.data.Dataset.from_tensor_slices(_columns(images))
        .map(example, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )


def evaluation_batches(
    images: ImageSet,
    *,
    image_size: int,
    batch_size: int = 64,
    degrade: str = "",
    skip_unreadable: bool = False,
) -> tf.data.Dataset:
    """All images in order, each by its centre.

    Args:
        images: The images.
        image_size: Height and width of `image`, in pixels.
        batch_size: Rows in a batch; the last may have fewer.
        degrade: Degradation of the images; see `parse_degradations`.
        skip_unreadable: Whether images that cannot be read or decoded, or have more than
            `MAX_PIXELS`, are skipped silently; otherwise they are errors.

    Returns:
        Batches `(x, y)` as of `training_batches`, without `teacher_image`.

    Raises:
        InputError: If a degradation is unknown or out of range.
    """
    degradations = parse_degradations(degrade, image_size=image_size)

    @tf.autograph.experimental.do_not_convert
    def example(
        file: tf.Tensor, id: tf.Tensor, label: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        data = tf.io.read_file(file)
        if skip_unreadable:
            fits = tf.debugging.assert_less_equal(image_area(data), np.int64(MAX_PIXELS))
            with tf.control_dependencies([fits]):
                data = tf.identity(data)
        image = centre_view(data, image_size)
        # No view has the number -1.
        image = degraded(image, degradations, _view_seed(0, tf.constant(-1, tf.int64), id))
        return {"image": image, "id": id}, label

    examples = tf.data.Dataset.from_tensor_slices(_columns(images)).map(
        example, num_parallel_calls=tf.data.AUTOTUNE
    )
    if skip_unreadable:
        examples = examples.ignore_errors()
    return examples.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _view(
    file: tf.Tensor, id: tf.Tensor, view: tf.Tensor, seed: int, sizes: list[int], least_area: float
) -> dict[int, tf.Tensor]:
    """The pixels of an image's view, by size: a function of (seed, id, view)."""
    pair = _view_seed(seed, view, id)
    pixels = random_views(tf.io.read_file(file), sizes, pair, least_area=least_area)
    return dict(zip(sizes, pixels, strict=True))


@functools.lru_cache(maxsize=8)
def _pixels_of_view(
    image_size: int, seed: int, least_area: float, *, centre: bool
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
    """The pixels of an image by (file, id, view).

    Traced once, which takes as long as decoding hundreds of images: a cache reads each view of each
    shard by a pipeline of its own.
    """

    def pixels(file: tf.Tensor, id: tf.Tensor, view: tf.Tensor) -> tf.Tensor:
        if centre:
            return centre_view(tf.io.read_file(file), image_size)
        return _view(file, id, view, seed, [image_size], least_area)[image_size]

    return tf.function(pixels, autograph=False)


def _view_seed(seed: int, view: tf.Tensor, id: tf.Tensor) -> tf.Tensor:
    return tf.stack([seed * 2**31 + view, id])


def _columns(images: ImageSet) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    files = tf.constant([str(images.root / path) for path in images.paths])
    return files, tf.constant(images.ids), tf.constant(images.labels)
