"""Teacher of a recipe, with the cache of what it answered."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from rich.console import Console

from keras_distill.data.image_set import ImageSet
from keras_distill.data.view_changes import ViewChanges
from keras_distill.recipes.caches import fill_caches
from keras_distill.settings.teachers import parse_cache
from keras_distill.teachers.cache import TeacherCache
from keras_distill.teachers.teacher import Teacher


@dataclass(frozen=True)
class CachedTeacher:
    """A frozen teacher, and the cache of its answers if there is one.

    Attributes:
        teacher: From raw images to vectors.
        cache: Its vectors of views of the training images; `None` if it is evaluated at each step.
    """

    teacher: Teacher
    cache: TeacherCache | None = None

    @property
    def lookup(self) -> Callable[[tf.Tensor, tf.Tensor], Any] | None:
        """From image ids and views to the teacher's vectors."""
        return None if self.cache is None else self.cache.lookup

    @property
    def views(self) -> int | None:
        """Different views of an image; `None` for a new one each time."""
        return None if self.cache is None else self.cache.views

    def live_image_size(self, image_size: int, *, degraded: bool) -> int | None:
        """Returns the size of images that the teacher needs beside those of the student.

        Args:
            image_size: Height and width of the student's images, in pixels.
            degraded: Whether the student's images are degraded, so that the teacher may not see
                them.
        """
        own = self.teacher.image_size or image_size
        return own if self.cache is None and (degraded or own != image_size) else None


def open_teacher_cache(
    settings: Any, teacher: Teacher, images: ImageSet, image_size: int
) -> TeacherCache | None:
    """Opens the cache that the setting `teacher_cache` describes.

    Args:
        settings: The settings of a recipe whose teacher may have cached views.
        teacher: The teacher.
        images: The training images.
        image_size: Height and width of the student's images, in pixels.

    Returns:
        The cache; `None` if the settings want none.
    """
    views = parse_cache("teacher_cache", settings.teacher_cache)
    if not isinstance(views, int):
        return None
    return TeacherCache(
        teacher,
        images,
        Path(settings.cache_dir).expanduser(),
        image_size=teacher.image_size or image_size,
        views=views,
        least_area=settings.crop_area,
        seed=settings.seed,
        changes=ViewChanges(settings.augment),
    )


def fill_teacher_cache(settings: Any, teacher: CachedTeacher | None, console: Console) -> None:
    """Computes the missing entries of the teacher's cache.

    Args:
        settings: The settings of the recipe.
        teacher: The teacher, if there is one.
        console: Console that shows progress.
    """
    if teacher is not None and teacher.cache is not None and settings.epochs:
        # All: an epoch of steps that were rounded up ends with the next view of some images.
        fill_caches({"teacher": teacher.cache}, None, settings, console)
