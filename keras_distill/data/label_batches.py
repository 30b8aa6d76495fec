"""Input pipeline of images with several labels each."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_distill.data.multilabel_images import MultiLabelImages
from keras_distill.data.multilabel_sampler import MultiLabelSampler
from keras_distill.data.pipeline import training_batches


def label_batches(
    images: MultiLabelImages,
    *,
    image_size: int,
    batch_size: int,
    least_positives: int = 0,
    least_area: float = 0.08,
    augment: str = "",
    degrade: str = "",
    views: int | None = None,
    teacher_image_size: int | None = None,
    teacher_logits: Callable[[tf.Tensor, tf.Tensor], Any] | None = None,
    seed: int = 0,
    first_step: int = 0,
    replicas: int = 1,
    own_replicas: range = range(1),
) -> tf.data.Dataset:
    """Endless batches of randomly cropped and mirrored images with their targets.

    Batch `s` is a function of `(seed, s)`: its rows and their views come from `MultiLabelSampler`,
    and a view of an image from `(seed, id, view)`, as in `training_batches`.

    Args:
        images: The images.
        image_size: Height and width of `image`, in pixels.
        batch_size: Rows in a batch, of all replicas.
        least_positives: Least images of each label in a cycle; see `MultiLabelSampler`.
        least_area: As of `training_batches`, like all arguments that are not named here.
        augment: As there.
        degrade: As there.
        views: As there.
        teacher_image_size: As there.
        teacher_logits: Maps rows of `images` and their views, int64 `(rows,)`, to a teacher's
            logits, such as `TeacherCache.lookup`.
        seed: As there.
        first_step: As there.
        replicas: As there.
        own_replicas: As there.

    Returns:
        Batches `(x, y)`: `x` a dict of `image` uint8 `(rows, image_size, image_size, 3)`, `id`
        int64 `(rows,)` and maybe `teacher_image` and `teacher_logits`; `y` the targets in
        {1, 0, -1}, int8 `(rows, labels)`.

    Raises:
        InputError: If there are no images, or a change or a degradation is unknown.
    """
    order = np.argsort(images.ids)
    ids, targets = tf.constant(images.ids[order]), tf.constant(images.targets[order], tf.int8)

    @tf.autograph.experimental.do_not_convert
    def with_targets(x: dict[str, Any], y: tf.Tensor) -> tuple[dict[str, Any], tf.Tensor]:
        if "teacher_embedding" in x:
            x["teacher_logits"] = x.pop("teacher_embedding")
        return x, tf.gather(targets, tf.searchsorted(ids, x["id"]))

    batches = training_batches(
        images.unlabelled,
        image_size=image_size,
        steps_per_epoch=1,  # the sampler numbers the views
        classes_per_batch=0,
        sampler=MultiLabelSampler(
            images.targets, batch_size=batch_size, least_positives=least_positives, seed=seed
        ),
        teacher_image_size=teacher_image_size,
        least_area=least_area,
        augment=augment,
        degrade=degrade,
        views=views,
        teacher_embedding=teacher_logits,
        seed=seed,
        first_step=first_step,
        replicas=replicas,
        own_replicas=own_replicas,
    )
    return batches.map(with_targets, num_parallel_calls=tf.data.AUTOTUNE)
