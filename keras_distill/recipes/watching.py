"""What the settings ask to see of a training in TensorBoard."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_distill.distribution.replicas import Replicas
from keras_distill.errors import InputError
from keras_distill.runs.directory import RunDirectory
from keras_distill.settings.monitoring import profile_of
from keras_distill.settings.training import TrainSettings
from keras_distill.training.epoch_report import EpochReport
from keras_distill.training.profiling import Profiling
from keras_distill.training.tensorboard_log import TensorBoardLog


def check_profile(settings: TrainSettings, steps: int) -> None:
    """Refuses to profile what will not be trained.

    Raises:
        InputError: If `--profile` names a step after the last one.
    """
    profiled = profile_of(settings)
    if profiled and settings.epochs and profiled[-1] > steps:
        raise InputError(
            f"--profile={settings.profile} goes beyond the last step, {steps}; give steps up to that."
        )


def watching_callbacks(
    settings: TrainSettings,
    run: RunDirectory,
    report: EpochReport,
    *,
    steps_per_epoch: int,
    first_step: int,
    batches: Callable[..., tf.data.Dataset],
    teachers: Mapping[str, Any],
    image_size: int,
    replicas: Replicas,
) -> list[keras.callbacks.Callback]:
    """Makes the callbacks that write TensorBoard's folder.

    Args:
        settings: The settings.
        run: The run directory.
        report: What makes the record of an epoch.
        steps_per_epoch: Steps in an epoch.
        first_step: Steps that were made before.
        batches: Makes batches; `training_batches`, but for what is for teachers.
        teachers: The teachers by name.
        image_size: Height and width of the student's images, in pixels.
        replicas: The replicas, of which the first process alone writes.

    Returns:
        The callbacks, none with `--notensorboard`.
    """
    if not (settings.tensorboard and replicas.is_chief):
        return []
    images = None
    if settings.tensorboard_images and not first_step:
        images = _first_batch(batches, teachers, image_size, settings.tensorboard_images)
    callbacks: list[keras.callbacks.Callback] = [
        TensorBoardLog(
            run.tensorboard,
            report,
            steps_per_epoch=steps_per_epoch,
            first_step=first_step,
            every_steps=settings.tensorboard_steps,
            histogram_epochs=settings.histogram_epochs,
            images=images,
        )
    ]
    if steps := profile_of(settings):
        callbacks.append(Profiling(run.tensorboard, steps, steps_per_epoch))
    return callbacks


def _first_batch(
    batches: Callable[..., tf.data.Dataset],
    teachers: Mapping[str, Any],
    image_size: int,
    count: int,
) -> dict[str, Any]:
    """The first images of the first batch, as the student and each teacher see them."""
    looking = {name: teacher for name, teacher in teachers.items() if not teacher.needs_ids}
    sizes = {name: teacher.image_size or image_size for name, teacher in looking.items()}
    x, _ = next(iter(batches(teacher_image_size=sizes or None)))
    seen = {"student": x["image"]}
    if sizes:
        for name, images in x["teacher_image"].items():
            seen[f"teacher_{name}" if name else "teacher"] = images
    return {name: images[:count] for name, images in seen.items()}
