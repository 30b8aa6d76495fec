"""Summary of a distillation."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_distill.data.image_set import ImageSet
from keras_distill.evaluation.retrieval_warnings import chance_warnings, class_size_warnings
from keras_distill.runs.directory import RunDirectory
from keras_distill.settings.distill import DistillSettings
from keras_distill.training.collapse_monitor import CollapseMonitor


def figures_before(
    settings: DistillSettings,
    run: RunDirectory,
    student: keras.Model,
    train: ImageSet,
    validation: ImageSet | None,
    skipped: list[str],
) -> dict[str, Any]:
    """Gathers values that are known before a training.

    Args:
        settings: The settings.
        run: The run directory.
        student: The student.
        train: The images to train on.
        validation: The images of held-out classes.
        skipped: Paths of images that cannot be read.

    Returns:
        Plain values by name.
    """
    unlabelled = int((train.labels < 0).sum())
    return {
        "run_dir": str(run.path),
        "student": str(run.product),
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


def figures_after(
    monitor: CollapseMonitor,
    validation: ImageSet | None,
    record: Mapping[str, Any],
    recall: float | None,
) -> dict[str, Any]:
    """Gathers the results of a training, apart from its losses and its validation.

    Args:
        monitor: The monitor of collapses.
        validation: The images of held-out classes.
        record: The record of the last epoch.
        recall: The best recall on the held-out classes.

    Returns:
        Plain values by name.
    """
    figures: dict[str, Any] = {
        "spread": {name: record[name] for name in monitor.names if name in record},
        "collapsed": monitor.collapsed,
        "collapse_cause": monitor.cause or None,
    }
    if recall is not None:
        figures["warnings"] = _validation_warnings(validation, recall)
    return figures


def recall_figures(recall: float) -> dict[str, Any]:
    """Returns the best recall as in the summary."""
    return {"recall": {"1": recall}}


def _validation_warnings(validation: ImageSet | None, recall: float | None = None) -> list[str]:
    """Says why the recall on the validation classes means little, as far as it is known."""
    if validation is None:
        return []
    found = class_size_warnings(validation.labels)
    if recall is not None:
        found += chance_warnings(validation.labels, recall)
    return [f"validation classes: {sentence}" for sentence in found]
