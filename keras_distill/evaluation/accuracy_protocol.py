"""Accuracy protocol: whether the class of each image has the highest score."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console, Group

from keras_distill.data.image_set import ImageSet
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.evaluation.accuracy_metrics import accuracy_metrics
from keras_distill.evaluation.accuracy_result import (
    accuracy_result,
    class_accuracy_table,
    lists_classes,
)
from keras_distill.evaluation.confusion_picture import draw_confusion
from keras_distill.evaluation.label_scores import score_batches
from keras_distill.evaluation.protocol_result import ProtocolResult
from keras_distill.models.label_names import LOGITS, find_labels
from keras_distill.models.loading import load_model
from keras_distill.models.mirror_average import is_mirror_averaged, mirror_averaged
from keras_distill.models.product import by_name, product_shape
from keras_distill.settings.evaluation import EvaluateSettings
from keras_distill.settings.progress import work_progress
from keras_distill.settings.split_data import load_split_images


def evaluate(settings: EvaluateSettings, console: Console) -> ProtocolResult:
    """Measures how often a classifier is right.

    Args:
        settings: The settings, checked.
        console: Where progress is shown.

    Returns:
        The result.

    Raises:
        InputError: If the model is no classifier of these classes, or an image cannot be read.
    """
    with renamed_arguments(path="model"):
        model = load_model(settings.model)
    if LOGITS not in (by_name(model.output) or {}):
        raise InputError(
            f"`model={settings.model}` has no output 'logits'; give a classifier, or "
            "`protocol=retrieval` for an embedder."
        )
    if settings.mirror:
        with renamed_arguments(model=f"model={settings.model}"):
            model = mirror_averaged(model)
    own = product_shape(model).image_size
    size = own or settings.image_size
    if own and settings.image_size not in (None, own):
        raise InputError(
            f"`image_size={settings.image_size}`: `model={settings.model}` takes images of {own} "
            "pixels; leave it out."
        )
    if size is None:
        raise InputError(f"`model={settings.model}` takes images of any size; give `image_size`.")
    begun = time.perf_counter()
    (images,), skipped = load_split_images(settings, settings.split)
    if images is None:
        raise InputError(
            f"`split={settings.split}`: `dataset={settings.dataset}` has no such images."
        )
    labels = find_labels(model)
    classes = product_shape(model).outputs[LOGITS][0]
    images, class_names = _in_order(settings, images, classes, labels and labels.names)
    batches = evaluation_batches(
        images, image_size=size, batch_size=settings.batch_size, degrade=settings.degrade
    )
    with work_progress("scoring", len(images), "images", console, transient=True) as advance:
        scores = score_batches(model, batches, on_batch=advance)
    title = f"{settings.model} on {settings.dataset} ({settings.split})"
    title += f", {settings.degrade}" if settings.degrade else ""
    options = {"top_ks": settings.top_ks_or([1, 5])}
    result = accuracy_result(
        title, scores, images.labels, class_names, per_class=settings.per_class, **options
    )
    metrics = accuracy_metrics(scores, images.labels, **options)
    table = result.table
    if lists_classes(class_names, settings.per_class):
        table = Group(table, "", class_accuracy_table(metrics, class_names))
    seconds = time.perf_counter() - begun
    notes = [*result.notes, f"{len(images)} images in {seconds:.1f} s"]
    if labels is None:
        notes.append(
            "The model keeps no names of its classes: they were taken in alphabetical order."
        )
    if settings.picture:
        draw_confusion(Path(settings.picture), metrics.confusion, class_names, title=title)
        notes.append(settings.picture)
    more = {
        **result.more,
        "skipped_images": list(skipped),
        "degrade": settings.degrade or None,
        "mirror": is_mirror_averaged(model),
        "seconds": round(seconds, 3),
    }
    return replace(result, table=table, notes=notes, more=more)


def _in_order(
    settings: EvaluateSettings, images: ImageSet, classes: int, names: Sequence[str] | None
) -> tuple[ImageSet, Sequence[str]]:
    """The images with labels in the order of the model's classes, whose names are returned too."""
    if names is None:
        if classes != len(images.class_names):
            raise InputError(
                f"`model={settings.model}` has logits of {classes} classes without names, and "
                f"`dataset={settings.dataset}` has {len(images.class_names)} classes; give the "
                "data that it was trained on."
            )
        return images, images.class_names
    column = {name: label for label, name in enumerate(names)}
    present = [images.class_names[label] for label in images.classes]
    if unknown := [name for name in present if name not in column]:
        raise InputError(
            f"`dataset={settings.dataset}` has {len(unknown)} classes that `model={settings.model}`"
            f" does not know, such as {unknown[0]!r}; its classes are {', '.join(names[:3])}, …"
        )
    columns = np.array([column.get(name, -1) for name in images.class_names], np.int64)
    return replace(images, labels=columns[images.labels]), names
