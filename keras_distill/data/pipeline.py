"""From images on disk to batches in memory."""

import tensorflow as tf

from keras_distill.data.class_sampler import ClassSampler
from keras_distill.data.image_set import ImageSet
from keras_distill.data.views import centre_view, random_views


def training_batches(
    images: ImageSet,
    *,
    image_size: int,
    steps_per_epoch: int,
    classes_per_batch: int = 8,
    images_per_class: int = 8,
    teacher_image_size: int | None = None,
    least_area: float = 0.08,
    seed: int = 0,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Endless batches of P classes x K randomly cropped and mirrored images.

    Batch `s` is a function of `(seed, s)`: its rows come from `ClassSampler`, and the view of an
    image from `(seed, id, epoch)` with `epoch = s // steps_per_epoch`.

    Args:
        images: The images.
        image_size: Height and width of `image`, in pixels.
        steps_per_epoch: Batches in an epoch.
        classes_per_batch: Classes in a batch, P.
        images_per_class: Images of each class in a batch, K.
        teacher_image_size: Height and width of `teacher_image`, the same crop for the teacher;
            `None` if it sees `image`.
        least_area: Least share of an image's area in a crop; see `random_views`.
        seed: Seed of the batches and of the views.
        first_step: Step of the first batch.

    Returns:
        Batches `(x, y)`: `x` a dict of `image` uint8 `(P*K, image_size, image_size, 3)`, `id` int64
        `(P*K,)` and maybe `teacher_image`; `y` the labels, int64 `(P*K,)`.

    Raises:
        InputError: If there are too few classes for a batch.
    """
    sampler = ClassSampler(
        images.labels,
        classes_per_batch=classes_per_batch,
        images_per_class=images_per_class,
        seed=seed,
    )
    files, ids, labels = _columns(images)
    sizes = [image_size] if teacher_image_size is None else [image_size, teacher_image_size]

    def rows_of_step(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rows = sampler.rows(step)
        return rows, tf.fill([sampler.batch_size], step // steps_per_epoch)

    def example(row: tf.Tensor, epoch: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        view = tf.stack([seed + tf.zeros_like(ids[row]), ids[row]])
        view = tf.random.experimental.stateless_fold_in(view, epoch, alg="philox")
        pixels = random_views(tf.io.read_file(files[row]), sizes, view, least_area=least_area)
        x = {"image": pixels[0], "id": ids[row]}
        if teacher_image_size is not None:
            x["teacher_image"] = pixels[1]
        return x, labels[row]

    return (
        tf.data.Dataset.range(first_step, tf.int64.max)
        .map(rows_of_step, num_parallel_calls=tf.data.AUTOTUNE)
        .unbatch()
        .map(example, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(sampler.batch_size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def evaluation_batches(
    images: ImageSet, *, image_size: int, batch_size: int = 64
) -> tf.data.Dataset:
    """All images in order, each by its centre.

    Args:
        images: The images.
        image_size: Height and width of `image`, in pixels.
        batch_size: Rows in a batch; the last may have fewer.

    Returns:
        Batches `(x, y)` as of `training_batches`, without `teacher_image`.
    """
    files, ids, labels = _columns(images)

    def example(row: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        image = centre_view(tf.io.read_file(files[row]), image_size)
        return {"image": image, "id": ids[row]}, labels[row]

    return (
        tf.data.Dataset.range(len(images))
        .map(example, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )


def _columns(images: ImageSet) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    files = tf.constant([str(images.root / path) for path in images.paths])
    return files, tf.constant(images.ids), tf.constant(images.labels)
