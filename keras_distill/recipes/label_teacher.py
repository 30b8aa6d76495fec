"""Teacher of logits that the settings name, with its cache."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from rich.console import Console

from keras_distill.data.multilabel_images import MultiLabelImages
from keras_distill.data.view_changes import ViewChanges
from keras_distill.errors import InputError
from keras_distill.models.label_names import LOGITS, find_labels
from keras_distill.models.loading import load_model
from keras_distill.models.product import by_name, product_shape
from keras_distill.recipes.caches import fill_caches
from keras_distill.settings.multilabel import MultiLabelSettings
from keras_distill.settings.teachers import parse_cache
from keras_distill.teachers.cache import TeacherCache
from keras_distill.teachers.model_fingerprint import model_fingerprint
from keras_distill.teachers.teacher import Teacher


@dataclass(frozen=True)
class LabelTeacher:
    """A model with logits of the same labels, frozen.

    Attributes:
        teacher: From raw images to logits, in the order of the labels.
        cache: Its logits for views of the training images; `None` if it is evaluated at each step.
    """

    teacher: Teacher
    cache: TeacherCache | None = None

    @property
    def lookup(self) -> Callable[[tf.Tensor, tf.Tensor], Any] | None:
        """`teacher_logits` of `label_batches`."""
        return None if self.cache is None else self.cache.lookup

    @property
    def views(self) -> int | None:
        """Different views of an image; `None` for a new one each time."""
        return None if self.cache is None else self.cache.views

    def live_image_size(self, image_size: int, *, degraded: bool) -> int | None:
        """Returns `teacher_image_size` of `label_batches`.

        Args:
            image_size: Height and width of the student's images, in pixels.
            degraded: Whether the student's images are degraded, so that the teacher may not see
                them.
        """
        own = self.teacher.image_size or image_size
        return own if self.cache is None and (degraded or own != image_size) else None


def open_label_teacher(
    settings: MultiLabelSettings, images: MultiLabelImages, image_size: int
) -> LabelTeacher | None:
    """Loads the teacher, and opens its cache.

    Args:
        settings: The settings.
        images: The training images.
        image_size: Height and width of the student's images, in pixels.

    Returns:
        The teacher; `None` if the settings name none.

    Raises:
        InputError: If it has no logits, or lacks a label that is trained on.
    """
    if not settings.teacher:
        return None
    model = load_model(settings.teacher)
    columns = _columns(settings, model, images.class_names)

    def logits(pixels: Any) -> Any:
        outputs = by_name(model(pixels, training=False)) or {}
        return tf.gather(outputs[LOGITS], columns, axis=1)

    teacher = Teacher(
        logits,
        embedding_dim=len(columns),
        image_size=product_shape(model).image_size,
        fingerprint=lambda: f"{model_fingerprint(model)} {columns}",
        versions={"keras": keras.__version__},
    )
    views = parse_cache("teacher_cache", settings.teacher_cache)
    if not isinstance(views, int):
        return LabelTeacher(teacher)
    cache = TeacherCache(
        teacher,
        images.unlabelled,
        Path(settings.cache_dir).expanduser(),
        image_size=teacher.image_size or image_size,
        views=views,
        least_area=settings.crop_area,
        seed=settings.seed,
        changes=ViewChanges(settings.augment),
    )
    return LabelTeacher(teacher, cache)


def fill_label_cache(
    settings: MultiLabelSettings, teacher: LabelTeacher | None, console: Console
) -> None:
    """Computes the missing entries of the teacher's cache.

    Args:
        settings: The settings.
        teacher: The teacher, if there is one.
        console: Console that shows progress.
    """
    if teacher is not None and teacher.cache is not None and settings.epochs:
        fill_caches({"teacher": teacher.cache}, None, settings, console)


def _columns(
    settings: MultiLabelSettings, model: keras.Model, class_names: tuple[str, ...]
) -> list[int]:
    """The place of each label among the teacher's logits."""
    source = f"`teacher={settings.teacher}`"
    labels = find_labels(model)
    if labels is None:
        raise InputError(
            f"{source} has no logits with names of labels; give a model that this recipe trained, "
            "or one of build_classifier."
        )
    missing = [name for name in class_names if name not in labels.names]
    if missing:
        raise InputError(
            f"{source} lacks {len(missing)} of {len(class_names)} labels, such as {missing[0]!r}; "
            "give a teacher that knows them, or name those that it knows by `classes`."
        )
    return [labels.names.index(name) for name in class_names]
