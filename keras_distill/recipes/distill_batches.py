"""Batches of a distillation."""

import functools
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from keras_distill.data.image_set import ImageSet
from keras_distill.data.mixed_sampler import MixedSampler
from keras_distill.data.pipeline import training_batches
from keras_distill.data.pixel_cache import PixelCache
from keras_distill.distribution.replicas import Replicas
from keras_distill.errors import InputError
from keras_distill.recipes.teachers import RecipeTeachers
from keras_distill.settings.distill import DistillSettings


@dataclass(frozen=True)
class BatchPlan:
    """Division of images into batches.

    Attributes:
        labelled: Whether a batch has labelled rows.
        unlabelled_per_batch: Unlabelled images of a batch.
        mixed_per_batch: Mixed rows of a batch.
        mixed_views: Views of mixed images that the epochs show, if there are so many.
        size: Rows of a batch, of all replicas.
        steps_per_epoch: Batches in an epoch.
        settings: Names of the settings that the size comes from.
        images: Number of images, in words.
    """

    labelled: bool
    unlabelled_per_batch: int
    mixed_per_batch: int
    mixed_views: int
    size: int
    steps_per_epoch: int
    settings: str
    images: str

    def check_replicas(self, replicas: Replicas) -> None:
        """Refuses a batch that cannot be dealt to the replicas.

        Raises:
            InputError: If rows, or pairs of mixed rows, would be left over.
        """
        try:
            replicas.check_batch(self.size)
        except InputError as error:
            raise InputError(f"{self.settings}: {error}") from error
        if self.mixed_per_batch % (2 * replicas.count):
            raise InputError(
                f"{self.settings}: {self.mixed_per_batch} mixed rows are no equal number of pairs "
                f"for each of {replicas.count} replicas; use a multiple of {2 * replicas.count}."
            )


def plan_batches(settings: DistillSettings, images: ImageSet) -> BatchPlan:
    """Decides how images are divided into batches.

    Args:
        settings: The settings.
        images: The training images, unlabelled ones last.

    Returns:
        The plan.

    Raises:
        InputError: If so few rows are mixed that there is no pair of them.
    """
    unlabelled = int((images.labels < 0).sum())
    labelled = len(images) - unlabelled
    labelled_per_batch = settings.classes_per_batch * settings.images_per_class
    unlabelled_per_batch = settings.unlabelled_per_batch if unlabelled else 0
    named = "`classes_per_batch` x `images_per_class`"
    if unlabelled:
        named += " + `unlabelled_per_batch`"
    if settings.views_per_image > 1:
        named = f"({named}) x `views_per_image`" if unlabelled else f"{named} x `views_per_image`"
    plain = (labelled_per_batch + unlabelled_per_batch) * settings.views_per_image
    # Of all rows, not of the plain ones; an even number, because two images make two mixes.
    share = settings.mixed
    mixed = plain if share == 1.0 else plain * share / (1.0 - share)
    mixed_per_batch = 2 * round(mixed / 2.0)
    if share and not mixed_per_batch:
        raise InputError(
            f"`mixed={share:g}` of {plain} rows and the mixed ones is no pair of rows; give "
            f"{2 / (plain + 2):.2g} or more."
        )
    if share == 1.0:
        plain = unlabelled_per_batch = 0
    steps_per_epoch = settings.steps_per_epoch or max(round(labelled / labelled_per_batch), 1)
    mixed_views = 0
    if mixed_per_batch:
        sampler = MixedSampler(len(images), batch_size=mixed_per_batch)
        mixed_views = sampler.views_until(settings.epochs * steps_per_epoch)
    return BatchPlan(
        labelled=share < 1.0,
        unlabelled_per_batch=unlabelled_per_batch,
        mixed_per_batch=mixed_per_batch,
        mixed_views=mixed_views,
        size=plain + mixed_per_batch,
        steps_per_epoch=steps_per_epoch,
        settings=f"{named}, `mixed`" if share else named,
        images=f"{labelled} images of {len(images.classes)} classes"
        + (f" and {unlabelled} unlabelled" if unlabelled else ""),
    )


@dataclass(frozen=True)
class DistillBatches:
    """Makes the batches of a distillation, each a function of (seed, step) alone.

    Attributes:
        settings: The settings.
        images: The training images.
        image_size: Height and width of the student's images, in pixels.
        teachers: The teachers.
        cache: Cache of decoded views, if there is one.
        plan: Division of the images into batches.
        replicas: The replicas.
    """

    settings: DistillSettings
    images: ImageSet
    image_size: int
    teachers: RecipeTeachers
    cache: PixelCache | None
    plan: BatchPlan
    replicas: Replicas

    def from_step(self, first_step: int) -> tf.data.Dataset:
        """Makes the batches of this process' replicas from a step on, with the teachers' inputs."""
        teachers = self.teachers
        degraded = bool(self.settings.degrade)
        return self._make(
            teacher_image_size=teachers.image_sizes(self.image_size, degraded=degraded),
            cached_image=self._cached_image,
            teacher_embedding=teachers.lookup(),
            teacher_features=teachers.lookup_features(),
            mixed_teacher_embedding=teachers.lookup(mixed=True),
            mixed_teacher_features=teachers.lookup_features(mixed=True),
            first_step=first_step,
            replicas=self.replicas.count,
            own_replicas=self.replicas.own,
        )

    def without_teachers(self) -> tf.data.Dataset:
        """Makes whole batches from the first step on, without the teachers' inputs."""
        return self._whole

    @functools.cached_property
    def _whole(self) -> tf.data.Dataset:
        return self._make(cached_image=self._cached_image)

    def examples(self, count: int) -> dict[str, tf.Tensor]:
        """Returns some images of the first batch as the student and each teacher see them.

        Args:
            count: Number of images; half of them mixed, if there are mixed ones.

        Returns:
            Images `(count, height, width, 3)` by the model that sees them.
        """
        looking = {
            name: teacher
            for name, teacher in self.teachers.teachers.items()
            if not teacher.needs_ids
        }
        sizes = {name: teacher.image_size or self.image_size for name, teacher in looking.items()}
        alike = not sizes and self.cache is None
        x, _ = next(iter(self._whole if alike else self._make(teacher_image_size=sizes or None)))
        seen = {"student": x["image"]}
        if sizes:
            for name, images in x["teacher_image"].items():
                seen[f"teacher_{name}" if name else "teacher"] = images
        plain, mixed = self.plan.size - self.plan.mixed_per_batch, self.plan.mixed_per_batch
        few = min(mixed, max(count // 2, count - plain))  # mixed ones, which are the last rows
        rows = [*range(min(count - few, plain)), *range(plain, plain + few)]
        return {name: tf.gather(images, rows) for name, images in seen.items()}

    @property
    def _cached_image(self) -> Any:
        return None if self.cache is None else self.cache.lookup

    def _make(self, **inputs: Any) -> tf.data.Dataset:
        settings = self.settings
        return training_batches(
            self.images,
            image_size=self.image_size,
            steps_per_epoch=self.plan.steps_per_epoch,
            classes_per_batch=settings.classes_per_batch if self.plan.labelled else 0,
            images_per_class=settings.images_per_class,
            unlabelled_per_batch=self.plan.unlabelled_per_batch,
            views_per_image=settings.views_per_image,
            mixed_per_batch=self.plan.mixed_per_batch,
            mixup_alpha=settings.mixup_alpha,
            least_area=settings.crop_area,
            augment=settings.augment,
            degrade=settings.degrade,
            views=self.teachers.views if self.cache is None else self.cache.views,
            seed=settings.seed,
            **inputs,
        )
