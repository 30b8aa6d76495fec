"""What the settings say about the course of a training: frozen, averaged, validated, stopped early."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import tensorflow as tf

from keras_distill.data.image_set import ImageSet
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.distribution.replicas import Replicas
from keras_distill.methods.distiller import Distiller
from keras_distill.settings.training import TrainSettings
from keras_distill.training.averaged_student import AveragedStudent
from keras_distill.training.best_epoch import BestEpoch
from keras_distill.training.collapse_monitor import CollapseMonitor
from keras_distill.training.early_stopping import EarlyStopping
from keras_distill.training.gradient_norm import GradientNorm
from keras_distill.training.layer_freezing import LayerFreezing
from keras_distill.training.recall_validation import VALIDATION_RECALL, RecallValidation


@dataclass(frozen=True)
class Course:
    """The course of a training.

    Attributes:
        callbacks: Its callbacks, to stand before those that read the logs of an epoch.
        student: What is saved: the student, or that of averaged weights.
        best: Knows the best epoch.
        monitor: One of the callbacks, which knows whether the student collapsed.
        stopping: Knows whether it was stopped early; `None` without `--patience`.
    """

    callbacks: list[keras.callbacks.Callback]
    student: keras.Model | AveragedStudent
    best: BestEpoch
    monitor: CollapseMonitor
    stopping: EarlyStopping | None


def build_course(
    settings: TrainSettings,
    distiller: Distiller,
    *,
    validation: ImageSet | None,
    batches: tf.data.Dataset,
    say: Callable[[str], object],
    replicas: Replicas,
) -> Course:
    """Makes what steers a training.

    Args:
        settings: The settings.
        distiller: The compiled model.
        validation: Images of held-out classes.
        batches: Batches `(x, y)` to estimate the statistics of averaged weights on, and to watch
            the student in inference mode.
        say: Takes what there is to say.
        replicas: The replicas, of which the first process says what the recall is.

    Returns:
        The course.
    """
    student, averaged = distiller.student, None
    if settings.ema:
        images = batches.take(settings.ema_batches).map(lambda x, y: x["image"])
        averaged = AveragedStudent(distiller, student, images)
    best, stopping = BestEpoch(VALIDATION_RECALL), None
    monitor = CollapseMonitor(
        settings.classes_per_batch * settings.images_per_class,
        say,
        batches=batches.take(1),
        student=averaged or student,
    )
    callbacks: list[keras.callbacks.Callback] = [monitor]
    if settings.freeze_epochs:
        callbacks.append(LayerFreezing(student.get_layer("trunk"), settings.freeze_epochs))
    if settings.gradient_norm:
        callbacks.append(GradientNorm())
    if validation is not None:
        size = student.input_shape[1]
        held_out = evaluation_batches(validation, image_size=size, degrade=settings.degrade)
        validated = student if averaged is None else averaged.student
        options = {} if averaged is None else {"prepare": averaged.refresh}
        callbacks += [
            RecallValidation(
                held_out,
                validated,
                every=settings.validate_every,
                common=replicas.of_first,
                **options,
            ),
            best,
        ]
    if settings.patience:
        stopping = EarlyStopping(
            VALIDATION_RECALL, patience=settings.patience, min_delta=settings.min_delta, say=say
        )
        callbacks.append(stopping)
    return Course(callbacks, averaged or student, best, monitor, stopping)
