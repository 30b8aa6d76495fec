"""Input pipelines: from images on disk to batches in memory."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
import tensorflow as tf

from keras_distill.data.changed_views import change
from keras_distill.data.class_sampler import ClassSampler
from keras_distill.data.decoding import image_area
from keras_distill.data.degradation_syntax import parse_degradations
from keras_distill.data.image_degradation import degrade as degraded
from keras_distill.data.image_set import ImageSet
from keras_distill.data.mixed_sampler import MixedSampler, partner_rows
from keras_distill.data.mixed_views import mix, mix_pairs, mix_share, mixed_seed
from keras_distill.data.pixel_limit import MAX_PIXELS
from keras_distill.data.unlabelled_sampler import UnlabelledSampler
from keras_distill.data.view_changes import ViewChanges
from keras_distill.data.views import centre_view, random_views
from keras_distill.errors import InputError

_Lookup: TypeAlias = Callable[[tf.Tensor, tf.Tensor], Any]


class RowSampler(Protocol):
    """Draws rows of images and the views that they show, from a step alone."""

    batch_size: int

    def rows(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the rows and their views, int64 `(batch_size,)`."""


_UNCHANGED = ViewChanges()


def training_batches(
    images: ImageSet,
    *,
    image_size: int,
    steps_per_epoch: int,
    classes_per_batch: int = 8,
    images_per_class: int = 8,
    unlabelled_per_batch: int = 0,
    views_per_image: int = 1,
    mixed_per_batch: int = 0,
    mixup_alpha: float = 1.0,
    sampler: RowSampler | None = None,
    teacher_image_size: "int | Mapping[str, int] | None" = None,
    least_area: float = 0.08,
    augment: str = "",
    degrade: str = "",
    views: int | None = None,
    cached_image: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
    teacher_embedding: _Lookup | None = None,
    teacher_features: _Lookup | None = None,
    mixed_teacher_embedding: _Lookup | None = None,
    mixed_teacher_features: _Lookup | None = None,
    seed: int = 0,
    first_step: int = 0,
    replicas: int = 1,
    own_replicas: range = range(1),
) -> tf.data.Dataset:
    """Endless batches of P classes x K randomly cropped and mirrored images.

    Batch `s` is a function of `(seed, s)`: its rows come from `ClassSampler`, and the view of an
    image from `(seed, id, view)`. In epoch `e = s // steps_per_epoch` every image shows its view
    `e`, or `e mod views`; with V views of an image in a batch, `V e` to `V e + V - 1`. Mixed rows
    come from `MixedSampler`, which counts views by itself.

    Args:
        images: The images.
        image_size: Height and width of `image`, in pixels.
        steps_per_epoch: Batches in an epoch.
        classes_per_batch: Classes in a batch, P; 0 for no labelled rows.
        images_per_class: Images of each class in a batch, K.
        unlabelled_per_batch: Rows of images labelled -1 that follow the P x K labelled ones, drawn
            by `UnlabelledSampler`.
        views_per_image: Views of each image in a batch, V, in rows next to each other: each batch
            has V times as many rows.
        mixed_per_batch: Rows that follow them, each a mix of the views of two of all images, drawn
            by `MixedSampler`: an even number. A mix has the label and the id -1, so it enters the
            teacher losses only, and the teacher sees the same mix.
        mixup_alpha: The share of an image in a mix is drawn from Beta(a, a); 1 is uniform.
        sampler: Draws further rows, and the views that they show, such as `MultiLabelSampler`; with
            `classes_per_batch=0` in place of the P x K ones.
        teacher_image_size: Height and width of `teacher_image`, the same crop for the teacher; a
            dict by name if there are several teachers; `None` if they see `image`.
        least_area: Least share of an image's area in a crop; see `random_views`.
        augment: Changes of crops that the teacher sees too, such as `"jitter:0.8,grey:0.2"` or
            `"randaugment:2:9,cutout:0.5"`; see `parse_augmentations`.
        degrade: Degradation of `image`, not of `teacher_image`, such as
            `"low_resolution:32,jpeg:20"`; see `parse_degradations`. A teacher that is evaluated
            then needs a `teacher_image`, also of the same size: there is one if neither
            `teacher_image_size` nor `teacher_embedding` is given; of several teachers name all.
        views: Different views of an image; `None` for a new one in each epoch.
        cached_image: Maps rows of `images` and their views, int64 `(rows,)`, to the pixels of
            their crops, such as `PixelCache.lookup`; then nothing is decoded.
        teacher_embedding: Maps rows of `images` and their views, int64 `(rows,)`, to the teacher's
            embeddings, such as `TeacherCache.lookup`.
        teacher_features: The same for the feature maps of hint and attention layers, such as
            `TeacherCache.lookup_features`.
        mixed_teacher_embedding: `teacher_embedding` for the mixed rows, such as the `lookup` of a
            `TeacherCache` with this `mixup_alpha`.
        mixed_teacher_features: `teacher_features` for the mixed rows.
        seed: Seed of the batches and of the views.
        first_step: Step of the first batch.
        replicas: Parts that the rows of a batch are dealt to like cards, so that each has images of
            as many classes as it can; a divisor of their number.
        own_replicas: The parts to make: for each step the first of them, then the next.

    Returns:
        Batches `(x, y)`: `x` a dict of `image` uint8 `(rows, image_size, image_size, 3)`, `id`
        int64 `(rows,)` and maybe `teacher_image` and `teacher_embedding`; `y` the labels, int64
        `(rows,)`, -1 for unlabelled and for mixed.

    Raises:
        InputError: If there are too few classes or images for a batch, if a change or a degradation
            is unknown, or if answers are looked up for some of the rows only.
        ValueError: If images are cached, but a teacher needs them at another size, if there are
            fewer different views than views of an image in a batch, or if rows cannot be dealt to
            the replicas.
    """
    changes = ViewChanges(augment, mixup_alpha if mixed_per_batch else None)
    degradations = parse_degradations(degrade, image_size=image_size)
    looked_up = teacher_embedding is not None or mixed_teacher_embedding is not None
    if degradations and teacher_image_size is None and not looked_up:
        teacher_image_size = image_size
    labelled = np.flatnonzero(images.labels >= 0)
    class_sampler = unlabelled_sampler = mixed_sampler = None
    if classes_per_batch:
        class_sampler = ClassSampler(
            images.labels[labelled],
            classes_per_batch=classes_per_batch,
            images_per_class=images_per_class,
            seed=seed,
        )
    if unlabelled_per_batch:
        unlabelled = np.flatnonzero(images.labels < 0)
        unlabelled_sampler = UnlabelledSampler(
            len(unlabelled), batch_size=unlabelled_per_batch, seed=seed
        )
    if mixed_per_batch:
        mixed_sampler = MixedSampler(
            len(images), batch_size=mixed_per_batch, seed=seed, views=views
        )
    if not 1 <= views_per_image <= (views or views_per_image):
        raise ValueError(f"`views_per_image={views_per_image}` must be from 1 to `views={views}`.")
    images_per_batch = (class_sampler.batch_size if class_sampler else 0) + unlabelled_per_batch
    plain = images_per_batch * views_per_image + (sampler.batch_size if sampler else 0)
    part_size, left_over = divmod(plain + mixed_per_batch, replicas)
    left_over += mixed_per_batch % (2 * replicas) * (not left_over)
    if left_over:
        raise ValueError(f"{left_over} rows are left over when dealt to `replicas={replicas}`.")
    plain //= replicas  # of one part, as all below
    counts = (plain, part_size - plain)
    embeddings = _of_all_rows("embedding", teacher_embedding, mixed_teacher_embedding, counts)
    features = _of_all_rows("features", teacher_features, mixed_teacher_features, counts)
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
        drawn = []
        if class_sampler is not None:
            drawn.append(tf.gather(labelled, class_sampler.rows(step)))
        if unlabelled_sampler is not None:
            drawn.append(tf.gather(unlabelled, unlabelled_sampler.rows(step)))
        parts = []
        if drawn:
            rows = tf.repeat(tf.concat(drawn, 0), views_per_image)
            each = rows, tf.tile(shown, [images_per_batch])
            parts.append([dealt_rows(column, replicas, own_replicas) for column in each])
        if sampler is not None:
            own_rows, own_views = sampler.rows(step)
            each = own_rows, own_views if views is None else own_views % views
            parts.append([dealt_rows(column, replicas, own_replicas) for column in each])
        if mixed_sampler is not None:
            pairs = mixed_sampler.rows(step)
            parts.append([dealt_rows(column, replicas, own_replicas, 2) for column in pairs])
        rows, their_views = (tf.concat(columns, 1) for columns in zip(*parts, strict=True))
        length = len(own_replicas) * part_size
        return tf.reshape(rows, [length]), tf.reshape(their_views, [length])

    @tf.autograph.experimental.do_not_convert
    def with_columns(rows: tf.Tensor, views: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return rows, views, *(tf.gather(column, rows) for column in columns[:2])

    @tf.autograph.experimental.do_not_convert
    def example(
        row: tf.Tensor, view: tf.Tensor, file: tf.Tensor, id: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
        pixels = _view(file, view_seed(seed, view, id), sizes, least_area, augment)
        return row, view, {str(size): pixels[size] for size in sizes}

    def for_teacher(pixels: Mapping[str, tf.Tensor]) -> dict[str, Any]:
        good = {name: pixels[str(size)] for name, size in teacher_sizes.items()}
        return {"teacher_image": good if several else good[""]} if good else {}

    def look_up(
        rows: tf.Tensor, views: tf.Tensor, pixels: dict[str, tf.Tensor] | None = None
    ) -> tuple[dict[str, Any], tf.Tensor]:
        id, y = tf.gather(ids, rows), tf.gather(labels, rows)
        seeds = view_seed(seed, views, id)
        if pixels is None:
            assert cached_image is not None
            crops = cached_image(rows, views)
            if augment:
                crops = _each(lambda crop, own: change(crop, augment, own), crops, seeds)
            pixels = {str(image_size): crops}
        if changes.mixup_alpha is not None:
            pixels = _mixed(pixels, seeds, plain, changes.mixup_alpha)
            own = tf.range(part_size) < plain
            id, y = tf.where(own, id, -1), tf.where(own, y, -1)
        image = pixels[str(image_size)]
        if degradations:
            if changes.mixup_alpha is not None:
                of_mixes = _each(mixed_seed, seeds[plain:], dtype=tf.int64)
                seeds = tf.concat([seeds[:plain], of_mixes], 0)
            image = _each(lambda good, own: degraded(good, degradations, own), image, seeds)
        x = {"image": image, "id": id, **for_teacher(pixels)}
        if embeddings is not None:
            x["teacher_embedding"] = embeddings(rows, views)
        if features is not None:
            x["teacher_features"] = features(rows, views)
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
    elif len(own_replicas) > 1:
        batches = batches.rebatch(part_size, drop_remainder=True)
    return batches.map(look_up, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def view_batches(
    images: ImageSet,
    *,
    image_size: int,
    view: int | None,
    least_area: float = 0.08,
    seed: int = 0,
    changes: ViewChanges = _UNCHANGED,
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
        changes: Changes of the views; not of the centre.
        rows: The rows of `images` to go through; all of them by default.
        batch_size: Rows in a batch; the last may have fewer.

    Returns:
        Batches `(image, id)`, uint8 `(rows, image_size, image_size, 3)` and int64 `(rows,)`.
    """
    chosen = np.arange(len(images)) if rows is None else np.arange(rows.start, rows.stop)
    columns: tuple[tf.Tensor, ...] = _columns(images.select(chosen))[:2]
    if changes.mixup_alpha is not None:
        if view is None:
            raise ValueError("the centre is never mixed; give a `view`.")
        partners = partner_rows(len(images), view=view, seed=seed)[chosen]
        columns += _columns(images.select(partners))[:2]

    pixels_of = _pixels_of_view(image_size, seed, least_area, changes, centre=view is None)
    number = tf.constant(view or 0, tf.int64)

    @tf.autograph.experimental.do_not_convert
    def example(file: tf.Tensor, id: tf.Tensor, *partner: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = pixels_of(number, file, id, *partner)
        return tf.ensure_shape(pixels, [image_size, image_size, 3]), id

    return (
        tf.data.Dataset.from_tensor_slices(columns)
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
        image = _centre(image_size)(data)
        # No view has the number -1.
        image = degraded(image, degradations, view_seed(0, tf.constant(-1, tf.int64), id))
        return {"image": image, "id": id}, label

    examples = tf.data.Dataset.from_tensor_slices(_columns(images)).map(
        example, num_parallel_calls=tf.data.AUTOTUNE
    )
    if skip_unreadable:
        examples = examples.ignore_errors()
    return examples.batch(batch_size).prefetch(tf.data.AUTOTUNE)


# Functions of single images are traced once: that takes as long as decoding hundreds of images, and
# a training makes several pipelines, to learn from, to watch it and to show what it sees.


@functools.lru_cache(maxsize=64)
def _centre(image_size: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """The centre of an image by the bytes of its file."""
    return tf.function(
        lambda data: centre_view(data, image_size),
        input_signature=[tf.TensorSpec([], tf.string)],
        autograph=False,
    )


@functools.lru_cache(maxsize=64)
def _view_of_sizes(
    sizes: tuple[int, ...], least_area: float, augment: str
) -> Callable[[tf.Tensor, tf.Tensor], list[tf.Tensor]]:
    """The pixels of an image's view at each size by its file and the seed of the view."""

    def pixels(file: tf.Tensor, seed: tf.Tensor) -> list[tf.Tensor]:
        found = random_views(tf.io.read_file(file), sizes, seed, least_area=least_area)
        return [change(image, augment, seed) for image in found] if augment else found

    signature = [tf.TensorSpec([], tf.string), tf.TensorSpec([2], tf.int64)]
    return tf.function(pixels, input_signature=signature, autograph=False)


def _view(
    file: tf.Tensor, seed: tf.Tensor, sizes: list[int], least_area: float, augment: str
) -> dict[int, tf.Tensor]:
    """The pixels of an image's view, by size: a function of (seed, id, view)."""
    pixels = _view_of_sizes(tuple(sizes), least_area, augment)(file, seed)
    return dict(zip(sizes, pixels, strict=True))


@functools.lru_cache(maxsize=8)
def _pixels_of_view(
    image_size: int, seed: int, least_area: float, changes: ViewChanges, *, centre: bool
) -> Callable[..., tf.Tensor]:
    """The pixels of an image by view, file and id, and by file and id of the partner if mixed.

    A cache reads each view of each shard by a pipeline of its own.
    """

    def crop(view: tf.Tensor, file: tf.Tensor, id: tf.Tensor) -> tf.Tensor:
        own = view_seed(seed, view, id)
        return _view(file, own, [image_size], least_area, changes.augment)[image_size]

    def pixels(view: tf.Tensor, file: tf.Tensor, id: tf.Tensor, *partner: tf.Tensor) -> tf.Tensor:
        if centre:
            return _centre(image_size)(tf.io.read_file(file))
        plain = crop(view, file, id)
        if changes.mixup_alpha is None:
            return plain
        share = mix_share(view_seed(seed, view, id), changes.mixup_alpha)
        return mix(plain[None], crop(view, *partner)[None], share[None])[0]

    return tf.function(pixels, autograph=False)


def view_seed(seed: int, view: tf.Tensor, id: tf.Tensor) -> tf.Tensor:
    """Returns the seeds of views, from which crops and their changes are drawn.

    Args:
        seed: Seed of the training.
        view: Numbers of the views, int64 `(...)`.
        id: Ids of the images, int64 `(...)`.

    Returns:
        int64 tensor `(..., 2)`.
    """
    return tf.stack([seed * 2**31 + view, id], axis=-1)


def dealt_rows(rows: tf.Tensor, replicas: int, own: range, hand: int = 1) -> tf.Tensor:
    """Deals rows to replicas like cards.

    Args:
        rows: Tensor `(rows,)`.
        replicas: Number of replicas, a divisor of `rows / hand`.
        own: The replicas whose rows are returned.
        hand: Rows that a replica gets at a time.

    Returns:
        Tensor `(len(own), rows / replicas)`.
    """
    dealt = tf.reshape(rows, [-1, replicas, hand])[:, own.start : own.stop]
    return tf.reshape(tf.transpose(dealt, [1, 0, 2]), [len(own), -1])


@tf.autograph.experimental.do_not_convert
def _each(function: Callable[..., tf.Tensor], *columns: tf.Tensor, dtype: Any = tf.uint8) -> Any:
    """Applies a function to each row."""
    return tf.map_fn(lambda row: function(*row), columns, fn_output_signature=dtype)


@tf.autograph.experimental.do_not_convert
def _mixed(
    pixels: Mapping[str, tf.Tensor], seeds: tf.Tensor, plain: int, mixup_alpha: float
) -> dict[str, tf.Tensor]:
    """Mixes the pairs that follow the plain rows of a batch."""
    shares = _each(lambda own: mix_share(own, mixup_alpha), seeds[plain:], dtype=tf.float32)
    shares = tf.ensure_shape(shares, [seeds.shape[0] - plain])

    def mixed(images: tf.Tensor) -> tf.Tensor:
        images = tf.ensure_shape(images, [seeds.shape[0], *images.shape[1:]])
        return tf.concat([images[:plain], mix_pairs(images[plain:], shares)], 0)

    return {size: mixed(images) for size, images in pixels.items()}


def _of_all_rows(
    name: str, of_plain: _Lookup | None, of_mixed: _Lookup | None, counts: tuple[int, int]
) -> _Lookup | None:
    """Joins what is looked up for the plain rows of a batch, and for the mixed rows after them."""
    plain, mixed = counts
    if of_plain is None and of_mixed is None:
        return None
    if bool(plain) != (of_plain is not None) or bool(mixed) != (of_mixed is not None):
        raise InputError(
            f"`teacher_{name}` answers for the plain rows of a batch, `mixed_teacher_{name}` for "
            f"its mixed rows, but there are {plain} and {mixed} of them; give those of the rows "
            "that there are, or none."
        )
    if of_plain is None or of_mixed is None:
        return of_plain or of_mixed
    both = (of_plain, of_mixed)

    def look_up(rows: tf.Tensor, views: tf.Tensor) -> Any:
        parts = (slice(None, plain), slice(plain, None))
        answers = [ask(rows[part], views[part]) for ask, part in zip(both, parts, strict=True)]
        return tf.nest.map_structure(lambda *found: tf.concat(found, 0), *answers)

    return look_up


def _columns(images: ImageSet) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    files = tf.constant([str(images.root / path) for path in images.paths])
    return files, tf.constant(images.ids), tf.constant(images.labels)
