"""Callbacks that write TensorBoard's folder."""

import keras

from keras_distill.errors import InputError
from keras_distill.runs.stage import StageContext, Training
from keras_distill.settings.monitoring import profile_of
from keras_distill.settings.training import TrainSettings
from keras_distill.training.epoch_report import EpochReport
from keras_distill.training.profiling import Profiling
from keras_distill.training.tensorboard_log import TensorBoardLog


def check_profile(settings: TrainSettings, steps: int) -> None:
    """Rejects profiling of steps after the last one.

    Raises:
        InputError: If `profile` names a step after the last one.
    """
    profiled = profile_of(settings)
    if profiled and settings.epochs and profiled[-1] > steps:
        raise InputError(
            f"`profile={settings.profile}` goes beyond the last step, {steps}; give steps up to "
            f"{steps}."
        )


def tensorboard_callbacks(
    settings: TrainSettings, training: Training, context: StageContext, report: EpochReport
) -> list[keras.callbacks.Callback]:
    """Makes the callbacks that write TensorBoard's folder.

    Args:
        settings: The settings.
        training: The training.
        context: The context of the stage.
        report: The callback that makes the record of an epoch.

    Returns:
        The callbacks; none without `tensorboard`, and in processes that do not write.
    """
    if not (settings.tensorboard and context.replicas.is_chief):
        return []
    images = None
    if settings.tensorboard_images and not context.first_step and training.example_images:
        images = dict(training.example_images(settings.tensorboard_images))
    callbacks: list[keras.callbacks.Callback] = [
        TensorBoardLog(
            context.run.tensorboard,
            report,
            steps_per_epoch=training.steps_per_epoch,
            first_step=context.first_step,
            every_steps=settings.tensorboard_steps,
            histogram_epochs=settings.histogram_epochs,
            images=images,
        )
    ]
    if steps := profile_of(settings):
        callbacks.append(Profiling(context.run.tensorboard, steps, training.steps_per_epoch))
    return callbacks
