"""What a training says of itself in its summary, and what it leaves when it is finished."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from keras_distill.data.image_set import ImageSet
from keras_distill.evaluation.retrieval_warnings import chance_warnings, class_size_warnings
from keras_distill.methods.distiller import Distiller
from keras_distill.publishing import published_file
from keras_distill.recipes.course import Course
from keras_distill.runs.directory import RunDirectory
from keras_distill.settings.training import TrainSettings
from keras_distill.training.epoch_report import EpochReport
from keras_distill.training.projector import write_projector


def setup_figures(
    settings: TrainSettings,
    run: RunDirectory,
    student: keras.Model,
    train: ImageSet,
    validation: ImageSet | None,
    skipped: list[str],
) -> dict[str, Any]:
    """Gathers what is known before a training for its summary.

    Args:
        settings: The settings.
        run: The run directory.
        student: The student.
        train: The images to train on.
        validation: Those of held-out classes.
        skipped: Paths of those that cannot be read.

    Returns:
        Plain values by name.
    """
    unlabelled = int((train.labels < 0).sum())
    return {
        "run_dir": str(run.path),
        "student": str(run.student),
        "teacher": settings.teacher or None,
        "dataset": settings.dataset,
        "images": {
            "train": len(train) - unlabelled,
            "validation": 0 if validation is None else len(validation),
            "unlabelled": unlabelled,
        },
        "train_classes": [train.class_names[label] for label in train.classes],
        "skipped_images": skipped,
        "parameters": student.count_params(),
        "embedding_dim": student.output_shape[1],
        "image_size": student.input_shape[1],
        "degrade": settings.degrade or None,
        "epochs": settings.epochs,
        "seed": settings.seed,
        "warnings": _validation_warnings(validation),
    }


def training_figures(
    run: RunDirectory,
    distiller: Distiller,
    course: Course,
    report: EpochReport,
    validation: ImageSet | None,
    images_seen: int,
) -> dict[str, Any]:
    """Gathers the figures of a training for its summary.

    Args:
        run: The run directory.
        distiller: The model that was trained.
        course: How it went.
        report: What knows how long it took.
        validation: The images of held-out classes.
        images_seen: Images of all steps.

    Returns:
        Plain values by name.
    """
    last, monitor = run.read_metrics()[-1], course.monitor
    figures: dict[str, Any] = {
        "seconds": round(report.seconds, 2),
        "images_per_second": round(images_seen / report.training_seconds, 1),
        "loss": {name: last[name] for name in distiller.metrics_names},
        "spread": {name: last[name] for name in monitor.names if name in last},
        "collapsed": monitor.collapsed,
        "collapse_cause": monitor.cause or None,
    }
    if course.best.epoch is not None:
        recall = {"1": course.best.value}
        figures["validation"] = {"recall": recall, "epoch": course.best.epoch + 1}
        figures["warnings"] = _validation_warnings(validation, course.best.value)
    if course.stopping is not None:
        figures["stopped_after_epoch"] = course.stopping.stopped
    return figures


def say_warnings(say: Callable[[str], object], summary: dict[str, Any]) -> None:
    """Says the warnings of a summary.

    Args:
        say: Takes each sentence.
        summary: All figures so far.
    """
    for warning in summary["warnings"]:
        say(f"warning: {warning}")


def write_student(run: RunDirectory, student: Any, checkpoint: Path | None) -> None:
    """Writes the student.

    Args:
        run: The run directory.
        student: The student, which has `save`.
        checkpoint: The best checkpoint, whose student is taken in its place.
    """
    with published_file(run.student) as temporary:
        if checkpoint is not None:
            shutil.copyfile(checkpoint / "student.keras", temporary)
        else:
            student.save(temporary)


def write_results(
    settings: TrainSettings, run: RunDirectory, summary: dict[str, Any], shown: ImageSet
) -> None:
    """Writes TensorBoard's projector, and at last the summary, which makes a run a finished one.

    Args:
        settings: The settings.
        run: The run directory, with its student.
        summary: All figures.
        shown: Images for the projector.
    """
    if settings.epochs and settings.tensorboard and settings.projector:
        written = keras.models.load_model(run.student, compile=False)
        write_projector(
            run.tensorboard, written, shown, settings.projector, degrade=settings.degrade
        )
    run.write_summary(summary)


def _validation_warnings(validation: ImageSet | None, recall: float | None = None) -> list[str]:
    """Says why the recall on the validation classes means little; until it is known, of these."""
    if validation is None:
        return []
    found = class_size_warnings(validation.labels)
    if recall is not None:
        found += chance_warnings(validation.labels, recall)
    return [f"--validation_classes: {sentence}" for sentence in found]
