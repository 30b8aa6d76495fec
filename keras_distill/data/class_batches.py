"""Batches of P classes x K images from a user's own data."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_distill.data.class_sampler import ClassSampler
from keras_distill.errors import InputError

_CHUNK = 256  # images that are read at once
_DIFFERENT_SHAPES = ("batch tensors with different shapes", "Cannot add tensor", "ConcatOp")


def class_batches(
    x: Any,
    y: Any = None,
    *,
    classes_per_batch: int = 8,
    images_per_class: int = 8,
    load: Callable[[Any], Any] | None = None,
    seed: int = 0,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Endless batches of P classes x K images, which losses such as `BatchHardTriplet` need.

    Batch `s` is a function of `(seed, s)`, see `ClassSampler`: every class is visited before any is
    visited again, and a class with fewer than K images repeats some. As the batches do not end,
    `fit` needs `steps_per_epoch`.

    The data are read once, in this call, and kept in memory in their own dtype: 1,000 images of
    224 x 224 pixels take 150 MB as uint8 and 600 MB as float32, and twice that while they are read.
    Where that is too much, give paths and `load`. Whatever is random in a data set, such as
    augmentation, is drawn once; augment in `load` instead, or map the batches.

    Args:
        x: A finite `tf.data.Dataset` of pairs (images, label), batched or not, such as of
            `keras.utils.image_dataset_from_directory`; or, with `y`, an array `(n, ...)`. In place
            of the images there may be whatever tensors `load` takes, such as paths, and a dict of
            tensors.
        y: Labels, integers `(n,)`, if `x` is an array.
        classes_per_batch: Classes in a batch, P.
        images_per_class: Images of each class in a batch, K.
        load: Maps the `x` of one image to its value in the batches, such as a path to its pixels,
            by TensorFlow operations; called for each image of each batch, in parallel.
        seed: Seed of the batches.
        first_step: Step of the first batch, such as `ResumableCallbacks.step`.

    Returns:
        Batches `(x, y)` of P x K rows, `y` int64 `(P * K,)`, class by class.

    Raises:
        InputError: If the data are endless, not pairs or of different shapes, if labels are not
            integers or below 0, or if there are too few classes.

    Example:
        >>> import numpy as np
        >>> images, labels = np.zeros((9, 32, 32, 3), np.uint8), np.arange(9) % 3
        >>> batches = class_batches(images, labels, classes_per_batch=2, images_per_class=3)
        >>> batches.element_spec[0].shape
        TensorShape([6, 32, 32, 3])
    """
    if isinstance(x, tf.data.Dataset):
        if y is not None:
            raise InputError("`y` must be left out if `x` is a data set, which holds the labels.")
        x, y = _read(x)
    elif y is None:
        raise InputError(
            f"`x` is a {type(x).__name__}; give a tf.data.Dataset of pairs (image, label), or "
            "arrays as `x` and `y`."
        )
    else:
        x = tf.nest.map_structure(tf.convert_to_tensor, x)
    labels = _checked(y, rows={len(part) for part in tf.nest.flatten(x)})
    sampler = ClassSampler(
        labels, classes_per_batch=classes_per_batch, images_per_class=images_per_class, seed=seed
    )

    @tf.autograph.experimental.do_not_convert
    def batch(step: tf.Tensor) -> tuple[Any, tf.Tensor]:
        rows = sampler.rows(step)
        return tf.nest.map_structure(lambda part: tf.gather(part, rows), x), tf.gather(labels, rows)

    steps = tf.data.Dataset.range(first_step, tf.int64.max)
    batches = steps.map(batch, num_parallel_calls=tf.data.AUTOTUNE)
    if load is not None:
        examples = batches.unbatch().map(
            lambda x, y: (load(x), y), num_parallel_calls=tf.data.AUTOTUNE
        )
        batches = examples.batch(sampler.batch_size, drop_remainder=True)
    return batches.prefetch(tf.data.AUTOTUNE)


def _read(dataset: tf.data.Dataset) -> tuple[Any, Any]:
    """All images and labels of a data set."""
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) != 2 or not hasattr(spec[1], "shape"):
        raise InputError(f"`x` must be a data set of pairs (image, label), but holds {spec}.")
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise InputError("`x` is endless; give each image once, without repeat().")
    _check_integers(spec[1].dtype.as_numpy_dtype, spec[1].shape)
    if spec[1].shape.rank == 0:
        dataset = dataset.batch(_CHUNK)
    try:
        chunks = [*dataset]
        if not chunks:
            raise InputError("`x` is empty.")
        x = tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *(x for x, _ in chunks))
    except tf.errors.InvalidArgumentError as error:
        if not any(text in str(error) for text in _DIFFERENT_SHAPES):
            raise
        raise InputError(
            "`x` has images of different shapes; resize them, dataset.map(lambda image, label: "
            "(tf.image.resize(image, (128, 128), antialias=True), label)), or give paths and "
            "`load`."
        ) from error
    return x, tf.concat([y for _, y in chunks], 0)


def _checked(y: Any, *, rows: set[int]) -> np.ndarray:
    labels = np.asarray(y)
    _check_integers(labels.dtype, labels.shape)
    if rows != {len(labels)}:
        raise InputError(f"`x` has {sorted(rows)} rows, but there are {len(labels)} labels.")
    if (unlabelled := int((labels < 0).sum())) > 0:
        raise InputError(
            f"{unlabelled} labels are below 0, which means without a class; leave these images "
            "out, dataset.filter(lambda image, label: label >= 0)."
        )
    return labels.astype(np.int64)


def _check_integers(dtype: Any, shape: Any) -> None:
    """Checks the labels, of one image or of several; those of a data set before it is read."""
    if len(shape) <= 1 and np.issubdtype(dtype, np.integer):
        return
    kind = "strings" if np.dtype(dtype).kind in "OSU" else np.dtype(dtype).name
    raise InputError(
        f"the labels must be one integer for each image, but are {kind} of shape {tuple(shape)}; "
        'load them with label_mode="int", take np.argmax(labels, axis=-1) of one-hot labels, or '
        "number strings by np.unique(labels, return_inverse=True)[1]."
    )
